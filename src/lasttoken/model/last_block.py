"""The last block, computed for the tokens that are read.

Of the last block's output only each text's last token is ever used. So its keys and values are
computed for all tokens, and everything else for those few:

    1. the block runs on all rows, until its attention hands out keys and values
    2. it runs again on the rows that are read, whose queries meet those keys and values
    3. their output is put back in its place among zeros

The block is the family's own code, run twice; nothing of the model's weights or names changes. A
block that goes in fewer calls (`gpt2`) runs once: its attention answers for those few tokens.

Source:
    The same numbers as the whole block, forward and backward, up to the order of sums. llama.cpp
    does so for prompts (pull request 2700).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lasttoken.model.attention import Scoring, as_mask, visible, weigh
from lasttoken.model.gpt2 import ShortBlock
from lasttoken.model.packing import Packing, steady_rows


class LastBlock:
    """Stands in for the `forward` of the last block.

    Args:
        block: whose forward is replaced, on this instance only.
    """

    def __init__(self, block: nn.Module) -> None:
        self._block = block
        self._whole = block.forward

    def install(self) -> None:
        """Take the place of the block's forward."""
        self._block.forward = self

    def remove(self) -> None:
        """Give the block its own forward back."""
        self._block.forward = self._whole

    def __call__(
        self,
        hidden_states: Tensor,
        *args: Any,  # noqa: ANN401 - the family's own
        packing: Packing | None = None,
        **kwargs: Any,  # noqa: ANN401 - the family's own
    ) -> Tensor:
        """Return (1, T, H): the block's output at the tokens that are read, zeros elsewhere.

        Called outside a packed batch, or for all tokens, it is the family's own forward.
        """
        if packing is None or packing.read is None:
            handed_on = {} if packing is None else {"packing": packing}
            whole: Tensor = self._whole(hidden_states, *args, **handed_on, **kwargs)
            return whole
        width = hidden_states.shape[1]
        # Filled up, so that a text alone meets the same matrix kernels as in a crowd.
        num_read = len(packing.read)
        filler = packing.read[-1:].expand(steady_rows(num_read) - num_read)
        rows = torch.cat([packing.read, filler]).to(hidden_states.device)  # (R,)
        if isinstance(self._whole, ShortBlock) and self._whole.is_short:
            output = self._whole.answer(hidden_states, rows, _LastQueries(packing, rows))
        else:
            handed = _Handover()
            with suppress(_Handed):
                self._whole(hidden_states, *args, packing=handed, **kwargs)
            output = self._whole(
                hidden_states.index_select(1, rows),
                *(_at_rows(value, rows, width) for value in args),
                packing=_RowQueries(packing, packing.read, handed.key, handed.value),
                **{name: _at_rows(value, rows, width) for name, value in kwargs.items()},
            )
        blank = output.new_zeros((1, width, output.shape[2]))
        return blank.index_copy(1, rows[:num_read], output[:, :num_read])


class _Handed(Exception):  # noqa: N818 - no error: it ends a block early
    """Keys and values are handed out; the rest of the block is not needed."""


class _Handover:
    """Take keys and values from a block's attention, and end the block there."""

    key: Tensor
    value: Tensor

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Keep keys and values; never returns."""
        self.key, self.value = key, value
        raise _Handed


@dataclass(frozen=True)
class _LastQueries:
    """The queries of all tokens come; those of some are answered.

    Attributes:
        packing: of the batch, with `read`.
        rows: (R,) int64, the tokens that are read, and filler.
    """

    packing: Packing
    rows: Tensor

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Return (1, R, heads, D)."""
        assert self.packing.read is not None
        asking = _RowQueries(self.packing, self.packing.read, key, value)
        return asking.attend(query.index_select(2, self.rows), key, value, scoring)


@dataclass(frozen=True)
class _RowQueries:
    """The queries of some tokens, meeting the keys and values of all.

    Attributes:
        packing: of the batch.
        places: (N,) int64 on the CPU, the tokens that ask.
        key: (1, key-value heads, T, D).
        value: as key.
    """

    packing: Packing
    places: Tensor
    key: Tensor
    value: Tensor

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Return (1, R, heads, D) for a query of (1, heads, R, D); its own keys are not needed.

        The first N rows ask; what is filler behind them gets the last one's answer.
        """
        num_groups, num_filler = self.key.shape[1], query.shape[2] - len(self.places)
        query = query[:, :, : len(self.places)]
        grouped = query[0].unflatten(0, (num_groups, -1)).transpose(1, 2)  # (groups, R, shared, D)
        keys, values = self.packing.rows(self.key), self.packing.rows(self.value)
        slots = self.packing.token_to_slot.cpu()[self.places].numpy()
        outputs, order = [], []
        for place, bucket in enumerate(self.packing.buckets):
            asking = np.flatnonzero((bucket.start <= slots) & (slots < bucket.stop))
            if not len(asking):
                continue
            text, position = np.divmod(slots[asking] - bucket.start, bucket.length)
            texts = torch.from_numpy(text).to(query.device)
            seen = visible(
                bucket.prompt + position[:, None],
                np.arange(bucket.prompt + bucket.length)[None],
                scoring.window,
            )  # (asking, keys)
            queries = grouped.index_select(1, torch.from_numpy(asking).to(query.device))
            mask = as_mask(seen[:, None], queries.dtype, query.device)
            attended = weigh(
                queries.flatten(0, 1),
                bucket.with_prompt(keys[place].index_select(1, texts), self.key).flatten(0, 1),
                bucket.with_prompt(values[place].index_select(1, texts), self.value).flatten(0, 1),
                mask.repeat(num_groups, 1, 1),
                scoring,
            )  # (groups x asking, shared, D)
            outputs.append(attended.unflatten(0, (num_groups, -1)))
            order.append(asking)
        back = torch.from_numpy(np.argsort(np.concatenate(order), kind="stable"))
        ordered = torch.cat(outputs, dim=1).index_select(1, back.to(query.device))
        answers = ordered.transpose(0, 1).flatten(1, 2)  # (N, heads, D)
        filler = answers[-1:].expand(num_filler, -1, -1)
        return torch.cat([answers, filler]).unsqueeze(0)


def _at_rows(value: Any, rows: Tensor, width: int) -> Any:  # noqa: ANN401 - the family's own
    """Return the rows of whatever a block is given for every token: (1, T, ...), also in tuples."""
    if isinstance(value, tuple):
        return tuple(_at_rows(part, rows, width) for part in value)
    is_each_token = isinstance(value, Tensor) and value.ndim >= 2 and value.shape[:2] == (1, width)
    return value.index_select(1, rows) if is_each_token else value
