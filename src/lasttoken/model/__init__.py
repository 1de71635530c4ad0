"""Tokens to logits: batches, attention, backbone, classifier, model folder."""
