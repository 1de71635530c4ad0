"""A trained classifier put to work outside of the command that made it."""
