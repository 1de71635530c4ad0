"""The attention that decoders call by name: registered with transformers, it does as packing says.

transformers hands queries, keys and values of all tokens to the function below; the batch's
`packing` (`packing.Packing`) says who sees whom, and calls the kernels here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from lasttoken.model.dropout import dropout

PACKED_ATTENTION = "lasttoken_packed"

# Up to this many keys a row, plain matmul + softmax is faster than the fused kernel on a CPU
# (docs/log.md has the measurements), whose backward is slow for short rows. Without a backward, and
# without a mask to read, the fused kernel is ahead much sooner.
LONGEST_MATMUL_ROW = 256
LONGEST_MATMUL_ROW_FORWARD = 16

# Keywords that decoders hand on to every attention function and that change nothing here.
HARMLESS_KEYWORDS = frozenset(
    {"position_ids", "use_cache", "cache_position", "output_attentions", "output_hidden_states"}
)


@dataclass(frozen=True)
class Scoring:
    """How a family turns queries and keys into attention weights.

    Attributes:
        scale: factor of the scores.
        dropout: probability of dropping an attention weight.
        window: a token sees itself and the window - 1 tokens before it; None is all before it.
        softcap: scores s become softcap * tanh(s / softcap); None leaves them.
    """

    scale: float
    dropout: float = 0.0
    window: int | None = None
    softcap: float | None = None


class Attends(Protocol):
    """What a decoder's attention is handed as `packing`: who sees whom."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Return (1, T, heads, D) for (1, heads, T, D) and (1, key-value heads, T, D)."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Attends,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **keywords: Any,  # noqa: ANN401 - whatever a family hands on; refused if not known harmless
) -> tuple[Tensor, None]:
    """Attend as `packing` says: the function that transformers calls in every block.

    Args:
        module: the attention module that calls.
        query: (1, heads, T, D), D channels of a head.
        key: (1, key-value heads, T, D); each is shared by consecutive query heads.
        value: as key.
        attention_mask: unused; the packing says who may see whom.
        packing: of this batch.
        scaling: see `Scoring`; 1 / sqrt(D) if None.
        dropout: see `Scoring`.
        sliding_window: see `Scoring.window`.
        softcap: see `Scoring`.
        keywords: anything else a family passes.

    Returns:
        (1, T, heads, D), and None in place of attention weights.

    Raises:
        UnknownAttentionKeywordError: a keyword is not known to change nothing.
    """
    unknown = keywords.keys() - HARMLESS_KEYWORDS
    if unknown:
        raise UnknownAttentionKeywordError(", ".join(sorted(unknown)))
    scale = 1.0 / math.sqrt(query.shape[-1]) if scaling is None else scaling
    scoring = Scoring(scale, dropout, sliding_window, softcap)
    return packing.attend(query, key, value, scoring), None


class UnknownAttentionKeywordError(TypeError):
    """A family passes something to attention that packing does not know how to honor."""


def attend_causally(query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
    """Attend in one bucket.

    Shapes:
        query (heads, texts, length, D); key, value (key-value heads, texts, prompt + length, D);
        returns the query's shape.
    """
    repeats = query.shape[0] // key.shape[0]
    if repeats > 1:
        key = key.repeat_interleave(repeats, dim=0)
        value = value.repeat_interleave(repeats, dim=0)
    length, num_keys = query.shape[2], key.shape[2]
    window = scoring.window if scoring.window is not None and scoring.window < num_keys else None
    plain = window is None and length == num_keys
    forward_only = plain and not torch.is_grad_enabled()
    longest = LONGEST_MATMUL_ROW_FORWARD if forward_only else LONGEST_MATMUL_ROW
    fused_is_faster = num_keys > longest or query.device.type != "cpu"
    if fused_is_faster and scoring.softcap is None:
        seen = None if plain else _causal_mask(length, num_keys, window, torch.bool, query.device)
        return nn.functional.scaled_dot_product_attention(
            query.transpose(0, 1),
            key.transpose(0, 1),
            value.transpose(0, 1),
            seen,
            scoring.dropout,
            is_causal=plain,
            scale=scoring.scale,
        ).transpose(0, 1)
    mask = _causal_mask(length, num_keys, window, query.dtype, query.device)
    return weigh(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), mask, scoring).view(
        query.shape
    )


def weigh(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scoring: Scoring) -> Tensor:
    """Attend by plain matrix products.

    Shapes:
        query (B, rows, D); key, value (B, keys, D); mask broadcasts to (B, rows, keys) and is added
        to the scores; returns the query's shape.
    """
    mask = mask.expand(len(query), -1, -1)
    if scoring.softcap is None:
        scores = torch.baddbmm(mask, query, key.transpose(1, 2), alpha=scoring.scale)
    else:
        scores = torch.bmm(query * scoring.scale, key.transpose(1, 2))
        scores = scoring.softcap * torch.tanh(scores / scoring.softcap) + mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    return torch.bmm(dropout(weights, scoring.dropout), value)


@lru_cache(maxsize=64)
def _causal_mask(
    length: int, num_keys: int, window: int | None, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return (length, num_keys) for the last `length` positions: see `visible`; made once."""
    places = np.arange(num_keys)
    with torch.inference_mode(False):  # training may use what prediction made
        return as_mask(visible(places[-length:, None], places, window), dtype, device)


def visible(
    query: NDArray[np.int64], key: NDArray[np.int64], window: int | None
) -> NDArray[np.bool_]:
    """Return whether a token at place `query` sees one at `key`: j <= i, and i - j < window."""
    seen = key <= query
    return seen if window is None else seen & (query - key < window)


def as_mask(seen: NDArray[np.bool_], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return what may be seen as bool, or as numbers to add to scores: 0 if seen, else -inf."""
    mask = torch.from_numpy(seen).to(device)
    if dtype == torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=device).masked_fill_(~mask, -math.inf)


def _no_mask(*_args: Any, **_kwargs: Any) -> None:  # noqa: ANN401 - the interface's own
    """Build no mask: `Packing` holds the boundaries."""


def register(name: str, function: Callable[..., Any]) -> None:
    """Make an attention function known to transformers, with no mask beside it."""
    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, _no_mask)


register(PACKED_ATTENTION, packed_attention)
