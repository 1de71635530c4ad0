"""The one gradient-free pass over texts."""
