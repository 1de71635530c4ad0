"""Evaluation of tasks whose texts have any number of labels, or none."""
