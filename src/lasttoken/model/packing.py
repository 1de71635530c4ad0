"""Packing: texts end to end in one row, regrouped into rectangles only inside attention.

A packed batch is one row of T tokens. Inside attention, texts stand in one rectangle per *bucket*
of lengths rounded up to a multiple of 16:

    tokens (T, ...)      a a a b c c
    bucket of 16         a a a . . .       the causal mask keeps the real tokens, which stand
                         b . . . . .       first in a row, from ever seeing the filler behind
                         c c . . . .

Kernel and bucket depend on the text's own length alone, never on its neighbors; therefore a
text's numbers do not change by a bit, whatever shares its batch.

Texts may continue one prompt that stands first in the row and is computed once; its keys and
values then stand in front of each of their rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lasttoken.model.attention import Scoring, attend_causally

BUCKET_TOKENS = 16
MIN_PACKED_TOKENS = 16


def steady_rows(num_rows: int) -> int:
    """Return the rows to compute, so that a text alone gives the bits it gives in a crowd.

    An even number of at least 16. Below 16 rows the matrix kernels of a CPU take another path and
    round differently; and an odd number of rows, split between two threads, can end one thread's
    share of an activation inside a vector register, whose rest is computed by scalar code,
    rounded otherwise.
    """
    return max(num_rows + num_rows % 2, MIN_PACKED_TOKENS)


def packed_width(num_tokens: int, num_sequences: int) -> int:
    """Return the length of a packed row, filler included.

    A sequence that is alone fills its bucket: then every token stands where attention wants it.
    """
    if num_sequences == 1:
        return -(-num_tokens // BUCKET_TOKENS) * BUCKET_TOKENS
    return steady_rows(num_tokens)


@dataclass(frozen=True)
class Bucket:
    """A rectangle of texts of similar length.

    Attributes:
        start: its first slot.
        num_texts: rows.
        length: slots of a row.
        prompt: tokens of the shared prompt in front of each row; 0 without one.
    """

    start: int
    num_texts: int
    length: int
    prompt: int

    @property
    def stop(self) -> int:
        """Return the slot behind the last."""
        return self.start + self.num_texts * self.length

    def with_prompt(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Put the prompt's keys or values, of tokens (1, heads, T, D), in front of the rows.

        Shapes:
            rows (heads, texts, length, D); returns (heads, texts, prompt + length, D).
        """
        if not self.prompt:
            return rows
        prompt = tokens[0, :, None, : self.prompt].expand(-1, rows.shape[1], -1, -1)
        return torch.cat([prompt, rows], dim=2)


@dataclass(frozen=True)
class Packing:
    """Where the texts of a packed batch lie, and their places in the buckets.

    Attributes:
        slot_to_token: (S,) int64, the token in each slot; a filler slot repeats the text's last.
        token_to_slot: (T,) int64, the slot of each token.
        buckets: which slots form which rectangle.
        is_straight: every token is its own slot already, as for a text that is alone.
        read: (R,) int64 on the CPU, the tokens whose last hidden states will be read; None is all.
    """

    slot_to_token: Tensor
    token_to_slot: Tensor
    buckets: tuple[Bucket, ...]
    is_straight: bool
    read: Tensor | None = None

    @classmethod
    def from_cu_seqlens(
        cls,
        cu_seqlens: Tensor,
        width: int,
        device: torch.device,
        continues: Tensor | None = None,
        read: Tensor | None = None,
    ) -> Packing:
        """Plan the buckets of a batch.

        Args:
            cu_seqlens: (B + 1,) int32; on the CPU, or it waits for the device.
            width: row length; tokens behind the last text count as one more text.
            device: where the batch lies.
            continues: (B,) bool, which sequences continue the first one, their shared prompt.
            read: see `Packing.read`.
        """
        ends = cu_seqlens.cpu().numpy().astype(np.int64)
        prompts = np.zeros(len(ends) - 1, dtype=np.int64)  # of each sequence, tokens
        if continues is not None:
            prompts[continues.cpu().numpy()] = ends[1]
        seqlens = np.diff(ends)
        rounded = -(-seqlens // BUCKET_TOKENS) * BUCKET_TOKENS
        filler = width - ends[-1]
        if filler <= rounded[-1] - seqlens[-1]:  # it stands behind the last text, in its own row
            seqlens[-1] += filler
        else:  # a row of its own, in the last text's bucket if that has room for it
            room = max(rounded[-1], -(-filler // BUCKET_TOKENS) * BUCKET_TOKENS)
            ends, seqlens = np.append(ends, width), np.append(seqlens, filler)
            rounded, prompts = np.append(rounded, room), np.append(prompts, prompts[-1])
        starts = ends[:-1]
        slots = []
        token_to_slot = np.empty(width, dtype=np.int64)
        buckets: list[Bucket] = []
        first_slot = 0
        for length, prompt in np.unique(np.stack([rounded, prompts]), axis=1).T.tolist():
            members = np.flatnonzero((rounded == length) & (prompts == prompt))
            steps = np.arange(length)[None, :]  # (1, length)
            inside = steps < seqlens[members, None]  # (members, length)
            tokens = starts[members, None] + np.minimum(steps, seqlens[members, None] - 1)
            token_to_slot[tokens[inside]] = first_slot + np.flatnonzero(inside)
            slots.append(tokens.reshape(-1))
            buckets.append(Bucket(first_slot, len(members), length, prompt))
            first_slot += tokens.size
        return cls(
            torch.from_numpy(np.concatenate(slots)).to(device),
            torch.from_numpy(token_to_slot).to(device),
            tuple(buckets),
            first_slot == width and bool((token_to_slot == np.arange(width)).all()),
            read,
        )

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Attend causally inside each text, all tokens asking.

        Shapes:
            query (1, heads, T, D); key, value (1, key-value heads, T, D); D channels of a head;
            returns (1, T, heads, D).
        """
        queries, keys, values = (self.rows(tensor) for tensor in (query, key, value))
        outputs = [
            attend_causally(
                queries[place],
                bucket.with_prompt(keys[place], key),
                bucket.with_prompt(values[place], value),
                scoring,
            ).flatten(1, 2)  # (heads, texts x length, D)
            for place, bucket in enumerate(self.buckets)
        ]
        if self.is_straight:
            return (outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)).transpose(0, 1)[
                None
            ]
        tokens: Tensor = _ToTokens.apply(self, *outputs)  # type: ignore[no-untyped-call]
        return tokens.unsqueeze(0)

    def rows(self, tokens: Tensor) -> list[Tensor]:
        """Return (1, heads, T, D) tokens as (heads, texts, length, D), for every bucket."""
        if self.is_straight:
            slots = tokens[0].split([bucket.stop - bucket.start for bucket in self.buckets], dim=1)
        else:
            slots = _ToSlots.apply(tokens[0], self)  # type: ignore[no-untyped-call]
        return [
            part.unflatten(1, (bucket.num_texts, bucket.length))
            for bucket, part in zip(self.buckets, slots, strict=True)
        ]

    @cached_property
    def slots_of_bucket(self) -> tuple[Tensor, ...]:
        """Return the part of `slot_to_token` that belongs to each bucket."""
        sizes = [bucket.stop - bucket.start for bucket in self.buckets]
        parts: tuple[Tensor, ...] = self.slot_to_token.split(sizes)
        return parts


class _ToSlots(torch.autograd.Function):
    """(heads, T, D) tokens to slots, (heads, texts x length, D) for every bucket.

    A filler slot never reaches a token's output, so its gradient is zero and the backward pass
    is a plain gather instead of a scattered sum.
    """

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, packing: Packing) -> tuple[Tensor, ...]:  # noqa: ANN401 - autograd's own
        ctx.packing = packing
        tokens = tokens.contiguous()  # once, or each index_select would do it again
        return tuple(tokens.index_select(1, slots) for slots in packing.slots_of_bucket)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - autograd's own
        return torch.cat(grads, dim=1).index_select(1, ctx.packing.token_to_slot), None


class _ToTokens(torch.autograd.Function):
    """Slots, (heads, texts x length, D) for every bucket, to (T, heads, D) tokens.

    A filler slot's gradient is zero.
    """

    @staticmethod
    def forward(ctx: Any, packing: Packing, *slots: Tensor) -> Tensor:  # noqa: ANN401 - autograd's own
        ctx.packing = packing
        return torch.cat(slots, dim=1).index_select(1, packing.token_to_slot).transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - autograd's own
        packing, tokens = ctx.packing, grads[0].transpose(0, 1).contiguous()  # (heads, T, D)
        slots = tokens.new_zeros((len(tokens), len(packing.slot_to_token), tokens.shape[2]))
        slots.index_copy_(1, packing.token_to_slot, tokens)
        sizes = [len(part) for part in packing.slots_of_bucket]
        return None, *slots.split(sizes, dim=1)
