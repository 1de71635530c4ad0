"""The loss of each kind of task, summed over the examples that count."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# The target of an example that fills a place and counts nowhere (torch's `cross_entropy` knows it
# by this number): no loss, and no gradient. A row of multi-label targets is filled with it.
IGNORED_LABEL = -100


def counted(targets: Tensor) -> Tensor:
    """Return which rows of targets (B,) or (B, C) count, (B,) bool: see `IGNORED_LABEL`."""
    return targets.reshape(len(targets), -1)[:, 0] != IGNORED_LABEL


def single_label_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return cross-entropy; logits (B, C), targets (B,) int64."""
    return functional.cross_entropy(logits, targets, ignore_index=IGNORED_LABEL, reduction="sum")


def multi_label_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return binary cross-entropy, its mean over labels; logits and targets (B, C)."""
    losses = functional.binary_cross_entropy_with_logits(
        logits, targets.to(logits.dtype), reduction="none"
    )
    return _sum_counted(losses.mean(dim=1), targets)


def ordinal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return cross-entropy against softmax(-|i - j|) over places j; as `single_label_loss`."""
    return _sum_counted(ordinal_losses(logits, targets), targets)


def ordinal_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the same of each example, (B,); of a filled place, any number."""
    places = torch.arange(logits.shape[1], device=logits.device)
    distances = (targets.clamp(min=0)[:, None] - places).abs()  # (B, C)
    soft = (-distances.to(logits.dtype)).softmax(dim=1)
    return functional.cross_entropy(logits, soft, reduction="none")


def regression_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return squared error; logits (B, 1), targets (B,)."""
    losses = (logits[:, 0] - targets.to(logits.dtype)).square()
    return _sum_counted(losses, targets)


def _sum_counted(losses: Tensor, targets: Tensor) -> Tensor:
    return torch.where(counted(targets), losses, 0.0).sum()
