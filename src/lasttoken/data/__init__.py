"""Labeled text in: read it, choose its columns, split it, and tell what is wrong with it."""
