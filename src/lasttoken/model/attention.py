"""Causal attention inside packed batches, registered with transformers under one name.

A packed batch is one row of T tokens. Only inside attention, texts are regrouped into
rectangles, one per *bucket* of lengths rounded up to a multiple of 16:

    tokens (T, ...)      a a a b c c
    bucket of 16         a a a . . .       the causal mask keeps the real tokens, which stand
                         b . . . . .       first in a row, from ever seeing the filler behind
                         c c . . . .

Kernel and bucket depend on the text's own length alone, never on its neighbors; therefore a
text's numbers do not change by a bit, whatever shares its batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

PACKED_ATTENTION = "lasttoken_packed"
BUCKET_TOKENS = 16

# Up to this bucket length, plain matmul + softmax is faster than the fused kernel on a CPU,
# whose backward is slow for short rows (docs/log.md has the measurement).
LONGEST_MATMUL_ROW = 256

# Keywords that decoders hand on to every attention function and that change nothing here.
HARMLESS_KEYWORDS = frozenset(
    {"position_ids", "use_cache", "cache_position", "output_attentions", "output_hidden_states"}
)


@dataclass(frozen=True)
class Bucket:
    """A rectangle of texts of similar length: `num_texts` rows of `length` slots from `start`."""

    start: int
    num_texts: int
    length: int


@dataclass(frozen=True)
class Packing:
    """Where the texts of a packed batch lie, and their places in the buckets.

    Attributes:
        slot_to_token: (S,) int64, the token in each slot; a filler slot repeats the text's last.
        token_to_slot: (T,) int64, the slot of each token.
        buckets: which slots form which rectangle.
    """

    slot_to_token: Tensor
    token_to_slot: Tensor
    buckets: tuple[Bucket, ...]

    @classmethod
    def from_cu_seqlens(cls, cu_seqlens: Tensor, width: int, device: torch.device) -> Packing:
        """Plan the buckets of a batch.

        Args:
            cu_seqlens: (B + 1,) int32; on the CPU, or it waits for the device.
            width: row length; tokens behind the last text count as one more text.
            device: where the batch lies.
        """
        ends = cu_seqlens.cpu().numpy().astype(np.int64)
        if width > ends[-1]:
            ends = np.append(ends, width)
        starts, seqlens = ends[:-1], np.diff(ends)
        rounded = -(-seqlens // BUCKET_TOKENS) * BUCKET_TOKENS
        slots = []
        token_to_slot = np.empty(width, dtype=np.int64)
        buckets: list[Bucket] = []
        first_slot = 0
        for length in np.unique(rounded):
            members = np.flatnonzero(rounded == length)
            steps = np.arange(length)[None, :]  # (1, length)
            inside = steps < seqlens[members, None]  # (members, length)
            tokens = starts[members, None] + np.minimum(steps, seqlens[members, None] - 1)
            token_to_slot[tokens[inside]] = first_slot + np.flatnonzero(inside)
            slots.append(tokens.reshape(-1))
            buckets.append(Bucket(first_slot, len(members), int(length)))
            first_slot += tokens.size
        return cls(
            torch.from_numpy(np.concatenate(slots)).to(device),
            torch.from_numpy(token_to_slot).to(device),
            tuple(buckets),
        )


class _ToSlots(torch.autograd.Function):
    """(T, ...) tokens to (S, ...) slots.

    A filler slot never reaches a token's output, so its gradient is zero and the backward pass
    is a plain gather instead of a scattered sum.
    """

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, packing: Packing) -> Tensor:  # noqa: ANN401 - autograd's own
        ctx.packing = packing
        return tokens.index_select(0, packing.slot_to_token)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:  # noqa: ANN401 - autograd's own
        return grads[0].index_select(0, ctx.packing.token_to_slot), None


class _ToTokens(torch.autograd.Function):
    """(S, ...) slots to (T, ...) tokens; a filler slot's gradient is zero."""

    @staticmethod
    def forward(ctx: Any, slots: Tensor, packing: Packing) -> Tensor:  # noqa: ANN401 - autograd's own
        ctx.packing = packing
        return slots.index_select(0, packing.token_to_slot)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:  # noqa: ANN401 - autograd's own
        packing = ctx.packing
        slots = grads[0].new_zeros((len(packing.slot_to_token), *grads[0].shape[1:]))
        slots[packing.token_to_slot] = grads[0]
        return slots, None


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **keywords: Any,  # noqa: ANN401 - whatever a family hands on; judged by `unknown_keywords`
) -> tuple[Tensor, None]:
    """Attend causally inside each text of a packed batch.

    Shapes:
        query (1, heads, T, D); key, value (1, key-value heads, T, D); D channels of a head.

    Args:
        module: the attention module that calls; keeps the names of unknown keywords.
        query: see shapes.
        key: see shapes; shared by heads / key-value heads consecutive query heads.
        value: as key.
        attention_mask: unused; the packing says who may see whom.
        packing: of this batch.
        scaling: factor of the scores; 1 / sqrt(D) if None.
        dropout: probability of dropping an attention weight.
        sliding_window: a token sees itself and the window - 1 tokens before it.
        softcap: scores s become softcap * tanh(s / softcap).
        keywords: anything else a family passes.

    Returns:
        (1, T, heads, D), and None in place of attention weights.
    """
    unknown = keywords.keys() - HARMLESS_KEYWORDS
    if unknown:
        raise UnknownAttentionKeywordError(", ".join(sorted(unknown)))
    scale = 1.0 / math.sqrt(query.shape[-1]) if scaling is None else scaling
    query_slots, key_slots, value_slots = (
        _ToSlots.apply(tensor[0].transpose(0, 1), packing)  # type: ignore[no-untyped-call] # (S, heads, D)
        for tensor in (query, key, value)
    )
    outputs = []
    for bucket in packing.buckets:
        stop = bucket.start + bucket.num_texts * bucket.length
        rows = [
            slots[bucket.start : stop]
            .unflatten(0, (bucket.num_texts, bucket.length))
            .transpose(1, 2)  # (texts, heads, length, D)
            for slots in (query_slots, key_slots, value_slots)
        ]
        attended = _attend(rows[0], rows[1], rows[2], scale, dropout, sliding_window, softcap)
        outputs.append(attended.transpose(1, 2).flatten(0, 1))  # (texts x length, heads, D)
    tokens: Tensor = _ToTokens.apply(torch.cat(outputs), packing)  # type: ignore[no-untyped-call]
    return tokens.unsqueeze(0), None  # (1, T, heads, D)


class UnknownAttentionKeywordError(TypeError):
    """A family passes something to attention that packing does not know how to honor."""


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    dropout: float,
    sliding_window: int | None,
    softcap: float | None,
) -> Tensor:
    """Attend in one bucket: (texts, heads, length, D) for all; returns the query's shape."""
    length = query.shape[2]
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key = key.repeat_interleave(repeats, dim=1)
        value = value.repeat_interleave(repeats, dim=1)
    reaches_past_window = sliding_window is not None and sliding_window < length
    window = sliding_window if reaches_past_window else None
    fused_is_faster = length > LONGEST_MATMUL_ROW or query.device.type != "cpu"
    if fused_is_faster and softcap is None:
        seen = None if window is None else _causal_mask(length, window, query) == 0
        return nn.functional.scaled_dot_product_attention(
            query, key, value, seen, dropout, is_causal=seen is None, scale=scale
        )
    scores = torch.matmul(query * scale, key.transpose(-1, -2))  # (texts, heads, length, length)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores + _causal_mask(length, window, scores)
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=dropout > 0.0)
    return torch.matmul(weights, value)


def _causal_mask(length: int, window: int | None, like: Tensor) -> Tensor:
    """Return (length, length): 0 where j <= i and i - j < window, else -inf."""
    mask = torch.full((length, length), -math.inf, dtype=like.dtype, device=like.device)
    mask = mask.triu(1)
    return mask if window is None else mask + torch.full_like(mask, -math.inf).tril(-window)


def _no_mask(*_args: Any, **_kwargs: Any) -> None:  # noqa: ANN401 - the interface's own
    """Build no mask: `Packing` holds the boundaries."""


def register(name: str, function: Callable[..., Any]) -> None:
    """Make an attention function known to transformers, with no mask beside it."""
    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, _no_mask)


register(PACKED_ATTENTION, packed_attention)
