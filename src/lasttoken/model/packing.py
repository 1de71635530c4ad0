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
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lasttoken.model.attention import Scoring, attend_causally

BUCKET_TOKENS = 16


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

    def rows(self, slots: Tensor) -> Tensor:
        """Return this bucket's part of (S, heads, D) as (texts, heads, length, D)."""
        part = slots[self.start : self.stop]
        return part.unflatten(0, (self.num_texts, self.length)).transpose(1, 2)

    def with_prompt(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Put the prompt's keys or values, of tokens (1, heads, T, D), in front of the rows."""
        if not self.prompt:
            return rows
        prompt = tokens[:, :, : self.prompt].expand(len(rows), -1, -1, -1)
        return torch.cat([prompt, rows], dim=2)  # (texts, heads, prompt + length, D)


@dataclass(frozen=True)
class Packing:
    """Where the texts of a packed batch lie, and their places in the buckets.

    Attributes:
        slot_to_token: (S,) int64, the token in each slot; a filler slot repeats the text's last.
        token_to_slot: (T,) int64, the slot of each token.
        buckets: which slots form which rectangle.
        read: (R,) int64 on the CPU, the tokens whose last hidden states will be read; None is all.
    """

    slot_to_token: Tensor
    token_to_slot: Tensor
    buckets: tuple[Bucket, ...]
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
        if width > ends[-1]:
            ends, prompts = np.append(ends, width), np.append(prompts, 0)
        starts, seqlens = ends[:-1], np.diff(ends)
        rounded = -(-seqlens // BUCKET_TOKENS) * BUCKET_TOKENS
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
            read,
        )

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Attend causally inside each text, all tokens asking.

        Shapes:
            query (1, heads, T, D); key, value (1, key-value heads, T, D); D channels of a head;
            returns (1, T, heads, D).
        """
        query_slots, key_slots, value_slots = (
            self.to_slots(tensor) for tensor in (query, key, value)
        )
        outputs = []
        for bucket in self.buckets:
            attended = attend_causally(
                bucket.rows(query_slots),
                bucket.with_prompt(bucket.rows(key_slots), key),
                bucket.with_prompt(bucket.rows(value_slots), value),
                scoring,
            )
            outputs.append(attended.transpose(1, 2).flatten(0, 1))  # (texts x length, heads, D)
        tokens: Tensor = _ToTokens.apply(torch.cat(outputs), self)  # type: ignore[no-untyped-call]
        return tokens.unsqueeze(0)

    def to_slots(self, tensor: Tensor) -> Tensor:
        """Return (1, heads, T, D) tokens as (S, heads, D) slots."""
        slots: Tensor = _ToSlots.apply(tensor[0].transpose(0, 1), self)  # type: ignore[no-untyped-call]
        return slots


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
