"""Out of the house: a fitted classifier at work elsewhere, each way an extra."""
