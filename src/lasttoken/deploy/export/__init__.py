"""Exported classifiers: made of a model folder, proved against it, written only then."""
