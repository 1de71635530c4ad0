"""The head: logits of last-token states, rounded alike however many texts ride together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lasttoken.model.packing import steady_rows


def apply_head(head: nn.Linear, pooled: Tensor) -> Tensor:
    """Return logits (B, C) in fp32: the head costs nothing and rounds everything.

    Few rows are filled up to the least number at which a matrix kernel's rounding no longer
    depends on how many there are (see `packing.steady_rows`).

    Args:
        head: (H) to (C).
        pooled: (B, H).
    """
    num_rows = len(pooled)
    filler = (0, 0, 0, steady_rows(num_rows) - num_rows)
    with torch.autocast(pooled.device.type, enabled=False):
        rows = nn.functional.pad(pooled.to(head.weight.dtype), filler)
        logits = _several_logits(head, rows)[:num_rows]
    return logits.float()


def _several_logits(head: nn.Linear, rows: Tensor) -> Tensor:
    """Return logits (B, C); a single one is computed twice.

    A product with one vector takes another kernel, whose rounding depends on how many rows there
    are.
    """
    if head.out_features > 1:
        logits: Tensor = head(rows)
        return logits
    bias = None if head.bias is None else head.bias.repeat(2)
    return nn.functional.linear(rows, head.weight.repeat(2, 1), bias)[:, :1]
