"""The report of a run: its plots and one HTML page."""
