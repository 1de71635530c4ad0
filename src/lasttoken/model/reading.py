"""How texts become tokens: what stands around them, and what is done with one that is too long.

    single      before  text  after
    pair        before  text  between  second text  after

`before`, `between` and `after` are tokens: those that the tokenizer adds (beginning of text, say),
and the template's. They stay when a text is cut, and stand around every window of a long one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from lasttoken.errors import DatasetError
from lasttoken.template import LongTexts, parse_template

# How much of what is kept of a text is its beginning, if its middle is cut out. Sun et al., "How to
# Fine-Tune BERT for Text Classification?" (arXiv 1905.05583, table 2): of 510 tokens, the first 128
# and the last 382 were better than the first 510 or the last 510.
_SHARE_OF_THE_BEGINNING = 0.25

Kept = tuple[NDArray[np.int64], ...]  # of one text or two, the places of tokens read together


@dataclass(frozen=True)
class Reading:
    """How the texts of one classifier become tokens; part of its record.

    Attributes:
        max_length: tokens that are read at once, `before`, `between` and `after` included.
        template: the words around every text, as given (`template.parse_template`); None for none.
        has_pairs: whether texts come with a second one; None where nobody knows.
        pair_separator: put between the two, where neither tokenizer nor template puts anything.
        long: what is done with texts of more tokens than `max_length`.
        window_overlap: tokens of text that two neighboring windows share, at least.
        before: token ids in front of every text.
        between: token ids between a text and its pair.
        after: token ids behind every text.
        replaced: the tokenizer's own `normalizer` and `post_processor` as JSON, where the saved one
            has others that put the template around every text; empty otherwise.
    """

    max_length: int
    template: str | None = None
    has_pairs: bool | None = None
    pair_separator: str = ""
    long: LongTexts = "cut-end"
    window_overlap: int = 0
    before: tuple[int, ...] = ()
    between: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    replaced: Mapping[str, Any] = field(default_factory=dict)

    @property
    def room(self) -> int:
        """Return the tokens of text that are read at once."""
        between = len(self.between) if self.has_pairs else 0
        return self.max_length - len(self.before) - between - len(self.after)

    @property
    def prompt(self) -> NDArray[np.int32]:
        """Return the template's tokens that all texts begin with, (P,); P = 0 without one."""
        return np.array(self.before if self.template else (), dtype=np.int32)

    @property
    def window_length(self) -> int | None:
        """Return the tokens of each window of a long text, or None if long texts are cut."""
        return self.max_length if self.long == "windows" else None

    @property
    def truncation_side(self) -> str:
        """Return the side on which other programs shall cut long texts."""
        return "left" if self.long == "cut-start" else "right"

    @classmethod
    def from_json(cls, content: Any) -> Reading:  # noqa: ANN401 - whatever a file holds
        """Return what `dataclasses.asdict` made JSON of.

        Raises:
            ValueError: a value is of another type or out of its range.
            TypeError: it is no object, or has no `max_length`.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        values = {key: value for key, value in dict(content).items() if key in known}
        for name in ("before", "between", "after"):
            ids = values.get(name, [])
            if not isinstance(ids, list) or not all(isinstance(number, int) for number in ids):
                raise ValueError(f"{name} {ids!r} is no list of token ids")
            values[name] = tuple(ids)
        reading = cls(**values)
        if not isinstance(reading.max_length, int) or reading.max_length < 1:
            raise ValueError(f"max_length {reading.max_length!r} is no whole number above 0")
        if reading.long not in get_args(LongTexts):
            raise ValueError(f"long {reading.long!r} is none of {', '.join(get_args(LongTexts))}")
        parse_template(reading.template)
        return reading

    def keep(self, lengths: Sequence[int]) -> list[Kept]:
        """Return which tokens of a text, or of two, are read: all together, or window by window.

        The longer of two texts gives way, until both are equally long: as the tokenizer does it
        (`truncation="longest_first"`). In windows only the longer one is divided; the other stands
        whole in every window, or its beginning if it takes more than half of the room.

        Args:
            lengths: tokens of the text, or of the text and its pair, without what stands around.

        Returns:
            One entry, or one a window; the windows of one text all fill the room.
        """
        if sum(lengths) <= self.room:
            return [tuple(np.arange(length) for length in lengths)]
        if self.long == "windows":
            return self._windows(lengths)
        shares = _shares(lengths, self.room)
        return [tuple(_KEEP[self.long](n, m) for n, m in zip(lengths, shares, strict=True))]

    def _windows(self, lengths: Sequence[int]) -> list[Kept]:
        divided = int(np.argmax(lengths))
        others = [min(length, self.room // 2) for length in lengths]
        others[divided] = 0
        size = self.room - sum(others)
        return [
            tuple(
                start + np.arange(size) if place == divided else np.arange(others[place])
                for place in range(len(lengths))
            )
            for start in window_starts(lengths[divided], size, self.window_overlap)
        ]


def check_pairs_fit(reading: Reading, *, has_pairs: bool) -> None:
    """Check that texts come as they came in training: alone, or in pairs.

    Raises:
        DatasetError: they do not.
    """
    if reading.has_pairs in (None, has_pairs):
        return
    if has_pairs:
        raise DatasetError(
            "texts with a second one, but the model was trained on single texts",
            expected="one text an example",
            remedy="leave the second texts out (--text-pair-column), or train with them",
        )
    raise DatasetError(
        "single texts, but the model was trained on pairs of texts",
        expected="a second text for every text",
        remedy='--text-pair-column NAME; in Python (text, text_pair), or {"text": ..., '
        '"text_pair": ...}',
    )


def window_starts(length: int, size: int, overlap: int) -> list[int]:
    """Return where the windows begin that cover a text: as few as will do, evenly spread.

    Args:
        length: tokens of the text, at least `size`.
        size: tokens of a window.
        overlap: tokens that two neighbors share, at least; less than `size`.
    """
    num_steps = -(-(length - size) // (size - overlap))
    return [step * (length - size) // max(1, num_steps) for step in range(num_steps + 1)]


def _shares(lengths: Sequence[int], room: int) -> list[int]:
    """Return how many tokens each of one or two texts keeps: the longer one gives way first.

    Source:
        `truncate_encodings` of the library `tokenizers`, strategy "longest_first"; where both are
        cut to half the room, the longer has the odd token, of equals the second.
    """
    if len(lengths) == 1:
        return [room]
    first, second = lengths
    half = room // 2
    if min(lengths) <= half:
        return [min(first, room - second), second] if first > second else [first, room - first]
    return [room - half, half] if first > second else [half, room - half]


def _keep_beginning(length: int, kept: int) -> NDArray[np.int64]:
    del length
    return np.arange(kept)


def _keep_end(length: int, kept: int) -> NDArray[np.int64]:
    return np.arange(length - kept, length)


def _keep_both_ends(length: int, kept: int) -> NDArray[np.int64]:
    if kept >= length:
        return np.arange(length)
    first = round(_SHARE_OF_THE_BEGINNING * kept)
    return np.concatenate([np.arange(first), np.arange(length - kept + first, length)])


_KEEP: Mapping[LongTexts, Callable[[int, int], NDArray[np.int64]]] = {
    "cut-end": _keep_beginning,
    "cut-start": _keep_end,
    "cut-middle": _keep_both_ends,
}
