"""How single optimizations are turned off, for `switches.py` alone.

Each function replaces one thing inside lasttoken by its plain form, in a worker that measures the
plain form. Nothing else in the project may do so.
"""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch

from lasttoken.model.tokens import TokenizedTexts


def sdpa_for_all() -> None:
    """Attention: the fused kernel at every length, not plain matrix products for short texts."""
    from lasttoken.model import attention

    attention.LONGEST_MATMUL_ROW = attention.LONGEST_MATMUL_ROW_FORWARD = 0


def matmul_in_prediction() -> None:
    """Attention: plain matrix products up to the same length in prediction as in training."""
    from lasttoken.model import attention

    attention.LONGEST_MATMUL_ROW_FORWARD = attention.LONGEST_MATMUL_ROW


def gathered_lone_texts() -> None:
    """Gather the tokens of a text into its attention rows, alone or not."""
    from lasttoken.model import batch, packing

    batch.packed_width = lambda num_tokens, _num_sequences: packing.steady_rows(num_tokens)


def own_blocks() -> None:
    """Compute GPT-2's blocks by the family's own code."""
    from lasttoken.model import gpt2

    gpt2.install = lambda _model: False


def whole_last_block() -> None:
    """Compute the last block for every token."""
    from lasttoken.model import proof

    proof._shorten_last_block = lambda *_: "turned off"


def whole_embedding() -> None:
    """Train the embeddings of the whole vocabulary."""
    from lasttoken.training import fit

    fit._seen_tokens = lambda _prepared: nullcontext()


def plain_products() -> None:
    """Predict with the modules' own matrix products."""
    from lasttoken.model import products

    products.kernels_can_be_fed = lambda: False


def separate_activations() -> None:
    """Apply activations in a pass of their own."""
    from lasttoken.model import products

    products._ACTIVATED.clear()


def torch_dropout() -> None:
    """Drop with torch's own random numbers."""
    from lasttoken.model import attention, dropout

    attention.dropout = torch.nn.functional.dropout
    dropout.install = lambda _model: None


def returned_memory() -> None:
    """Give freed memory back to the system, as the C library does by itself."""
    from lasttoken.inference import prediction
    from lasttoken.training import fit

    fit.keep_freed_memory = prediction.keep_freed_memory = lambda: False


def separate_clipping() -> None:
    """Clip gradients in passes of their own, as torch does."""
    from lasttoken.training import clipping

    clipping._steps_all = lambda *_: False


def python_gelu() -> None:
    """Compute GPT-2's activation in eight operations, as transformers does."""
    from lasttoken.model import backbone

    backbone._fuse_gelu = lambda _model: None


def every_copy() -> None:
    """Predict equal texts again and again."""
    from lasttoken.inference import prediction

    def each(texts: TokenizedTexts) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(len(texts)), np.arange(len(texts))

    prediction.first_equal_texts = each


def whole_bf16_products() -> None:
    """Train with autocast's own products."""
    from lasttoken.model.products import Product

    stand_in = Product.__call__

    def plain(self: Product, inputs: torch.Tensor) -> torch.Tensor:
        return self._plain(inputs) if torch.is_grad_enabled() else stand_in(self, inputs)

    Product.__call__ = plain
