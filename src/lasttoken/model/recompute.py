"""Less memory in training: what a block computed is forgotten, and computed again when needed.

    forward    block 1 -> | -> block 2 -> | ... -> block n      only what stands at | is kept
    backward   block n runs again, then its gradients; block n-1 runs again ...

One more forward pass in time; in memory one block's intermediate results instead of n blocks'. The
numbers are the same to the last bit: the same operations on the same inputs, dropout included.

Source:
    Chen et al. (arXiv 1604.06174), by torch's `checkpoint`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from lasttoken.model.blocks import Forward, find_blocks, replaced_forwards

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def recomputed_blocks(model: PreTrainedModel) -> Iterator[None]:
    """Let every block be recomputed in the backward pass; without gradients nothing changes."""

    def make(forward: Forward) -> Forward:
        def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - family's own
            if not torch.is_grad_enabled():
                return forward(*args, **kwargs)
            return checkpoint(forward, *args, use_reentrant=False, **kwargs)

        return run

    with replaced_forwards(list(find_blocks(model)), make):
        yield
