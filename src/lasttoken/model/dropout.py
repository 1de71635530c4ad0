"""Dropout on a CPU from faster random numbers.

torch draws one Mersenne Twister number an element there, which takes a fifth of a training step of
GPT-2 (docs/log.md). Here four elements share one number of SFC64, whose seed is drawn from
torch's own generator: `torch.manual_seed` decides everything, as before.

Source:
    Srivastava et al. (JMLR 15, 2014), scaled by 1 / (1 - p) in training. SFC64 is numpy's smallest
    fast generator (https://numpy.org/doc/stable/reference/random/bit_generators/sfc64.html). A
    probability is rounded to 1 / 65,536.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

_LEVELS = 65_536  # of the 16 random bits an element gets
_INTEGERS_OF_SIZE = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def dropout(inputs: Tensor, p: float) -> Tensor:
    """Set each element to 0 with probability p and scale the others by 1 / (1 - p).

    Args:
        inputs: of any shape.
        p: 0 to 1; at 0 the inputs come back as they are.
    """
    if p == 0.0:
        return inputs
    if inputs.device.type != "cpu" or p >= 1.0:
        return nn.functional.dropout(inputs, p)
    seed = int(torch.randint(2**62, ()))
    generator = np.random.Generator(np.random.SFC64(seed))
    words = generator.integers(2**64, size=-(-inputs.numel() // 4), dtype=np.uint64)
    kept = words.view(np.uint16)[: inputs.numel()] >= round(p * _LEVELS)
    # 0 or 1 / (1 - p), by its bits: numpy has no bf16, and a cast would be one pass more.
    scale = torch.tensor(1.0 / (1.0 - p), dtype=inputs.dtype)
    integers = _INTEGERS_OF_SIZE[inputs.element_size()]
    bits = np.multiply(kept, scale.view(integers).numpy(), dtype=scale.view(integers).numpy().dtype)
    return inputs * torch.from_numpy(bits).view(inputs.dtype).view(inputs.shape)


class Dropout(nn.Dropout):
    """torch's module with the function above."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs, of any shape, some of them dropped while training."""
        return dropout(inputs, self.p if self.training else 0.0)


def install(model: nn.Module) -> None:
    """Let every plain dropout module of a model draw its numbers so."""
    for module in model.modules():
        if type(module) is nn.Dropout and not module.inplace:
            module.__class__ = Dropout
