"""Out of the house: what is done with a finished classifier elsewhere."""
