"""The ways in which programs lay texts before a stock classifier.

alone                a b c
right                a b c . .        the mask says what is padding
left                 . . a b c        GPT-2 gives the padding positions too, unless told others
left, positions      . . a b c        positions 0 0 0 1 2
long neighbor        beside a text that is much longer
fixed                . . . . . . a b c     to one length, whatever the batch
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

TEXTS_PER_BATCH = 16  # neighbors in the order given, as a loader that does not sort makes them

# To which lengths trainings pad: round numbers, powers of two and what lies between. A tokenizer
# often tells its own, and people may.
USUAL_LENGTHS = (32, 48, 60, 64, 96, 100, 128, 200, 256, 384, 512)

Side = Literal["right", "left"]


@dataclass(frozen=True)
class Arrangement:
    """One way of laying texts before a model.

    Attributes:
        side: where padding stands.
        length: to which every text is cut and padded; None is the longest of its batch.
        with_positions: whether `position_ids` are passed that count real tokens only.
        long_neighbor: whether a text much longer than all others rides in every batch.
        batch_size: texts in a batch, that neighbor not counted.
    """

    side: Side
    length: int | None = None
    with_positions: bool = False
    long_neighbor: bool = False
    batch_size: int = TEXTS_PER_BATCH

    @property
    def name(self) -> str:
        """Return a short name that stays the same between versions."""
        parts = [
            "alone" if self.batch_size == 1 else self.side,
            f"{self.length}" if self.length else "",
            "long_neighbor" if self.long_neighbor else "",
            "positions" if self.with_positions else "",
        ]
        return "_".join(filter(None, parts))

    @property
    def title(self) -> str:
        """Return what it is in plain words."""
        if self.batch_size == 1:
            return "each text alone"
        to = f"to {self.length} tokens" if self.length else "to the longest of the batch"
        beside = ", beside a long text" if self.long_neighbor else ""
        positions = ", position_ids passed" if self.with_positions else ""
        return f"padded on the {self.side} {to}{beside}{positions}"


ALONE = Arrangement("right", batch_size=1)
RIGHT = Arrangement("right")
LEFT = Arrangement("left")

# In every examination. Right padding with positions is what left padding with positions is
# compared with by those who pass them.
ALWAYS = (
    ALONE,
    RIGHT,
    Arrangement("right", long_neighbor=True),
    Arrangement("right", with_positions=True),
    LEFT,
    Arrangement("left", long_neighbor=True),
    Arrangement("left", with_positions=True),
)


def own_arrangement(padding_side: str) -> Arrangement:
    """Return what a pipeline with a batch size does: the tokenizer's side, and no positions."""
    return LEFT if padding_side == "left" else RIGHT


def lay(
    token_ids: Sequence[Sequence[int]], arrangement: Arrangement, *, fill_id: int, limit: int
) -> Iterator[dict[str, Tensor]]:
    """Yield the keyword arguments of a stock `forward`, batch after batch.

    Args:
        token_ids: N texts, each with a token at least.
        arrangement: of them.
        fill_id: what stands where no text does.
        limit: tokens that the model can read.

    Returns:
        `input_ids`, `attention_mask` and, if asked for, `position_ids`, (B, L) int64; the row of a
        long neighbor is the last.
    """
    neighbor = _long_text(token_ids, limit) if arrangement.long_neighbor else None
    for start in range(0, len(token_ids), arrangement.batch_size):
        rows = [list(ids) for ids in token_ids[start : start + arrangement.batch_size]]
        rows = [ids[: arrangement.length] for ids in rows]
        if neighbor is not None:
            rows.append(neighbor)
        length = arrangement.length or max(map(len, rows))
        input_ids = np.full((len(rows), length), fill_id, dtype=np.int64)
        mask = np.zeros_like(input_ids)
        for row, ids in enumerate(rows):
            at = length - len(ids) if arrangement.side == "left" else 0
            input_ids[row, at : at + len(ids)] = ids
            mask[row, at : at + len(ids)] = 1
        inputs = {"input_ids": input_ids, "attention_mask": mask}
        if arrangement.with_positions:
            inputs["position_ids"] = np.maximum(mask.cumsum(axis=1) - 1, 0)
        yield {name: torch.from_numpy(values) for name, values in inputs.items()}


def _long_text(token_ids: Sequence[Sequence[int]], limit: int) -> list[int]:
    """Return a text twice as long as the longest, of the same tokens, as far as the model reads."""
    longest = max(map(len, token_ids))
    flat = [token for ids in token_ids for token in ids]
    wanted = min(limit, max(2 * longest, 64))
    return (flat * (wanted // len(flat) + 1))[:wanted]
