"""Windows of long texts: several sequences in a batch, one answer.

text a, in 3 windows; b, in 1      sequences   a1 a2 a3 b
                                   owner       0  0  0  1
                                   states      (a1 + a2 + a3) / 3, b
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def divide(
    token_ids: Sequence[NDArray[np.int32]], window_length: int | None
) -> tuple[Sequence[NDArray[np.int32]], Tensor | None]:
    """Return all windows of B texts, and which text each is of.

    Args:
        token_ids: B arrays (L,), windows end to end where L is more than `window_length`.
        window_length: tokens of every window of a text that has several; None if none has.

    Returns:
        S arrays; and `Batch.owner` (S,), or None if every text has one window.
    """
    if window_length is None:
        return token_ids, None
    num_windows = [max(1, len(ids) // window_length) for ids in token_ids]
    if max(num_windows) == 1:
        return token_ids, None
    windows = [
        part
        for ids, number in zip(token_ids, num_windows, strict=True)
        for part in np.split(ids, number)
    ]
    return windows, torch.repeat_interleave(torch.tensor(num_windows))


def average_windows(states: Tensor, owner: Tensor) -> Tensor:
    """Return the mean over each example's windows, (B, ...) fp32.

    Added up one after the other, the first windows of all examples, then the second ones: so the
    bits of an example do not depend on how many windows others have.

    Args:
        states: (S, ...).
        owner: (S,) int64 on the CPU; see `Batch.owner`.
    """
    num_windows = owner.bincount()  # (B,)
    first = num_windows.cumsum(0) - num_windows
    total = states[first.to(states.device)].float()
    for place in range(1, int(num_windows.max())):
        examples = torch.nonzero(num_windows > place).squeeze(1)
        windows = (first[examples] + place).to(states.device)
        total = total.index_add(0, examples.to(states.device), states[windows].float())
    counts = num_windows.to(states.device).view(-1, *[1] * (states.dim() - 1))
    return total / counts
