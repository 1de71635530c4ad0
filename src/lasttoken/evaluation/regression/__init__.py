"""Evaluation of tasks whose labels are numbers."""
