"""Weights change: order, optimizer, the loop over batches and the loop over epochs."""
