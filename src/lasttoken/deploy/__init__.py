"""Finished classifiers out of the house: exported, served, at work elsewhere. Each is an extra."""
