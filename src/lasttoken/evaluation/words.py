"""Words and tokens of a text: where they stand in it, character by character.

A *word* is a run of characters without white space; in scripts written without spaces, a
character with its marks. The punctuation that closes a text is a word of its own: a model that
reads the last token takes much of its answer from there, which is not the last word's doing.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.unicode import fix_texts
from lasttoken.errors import BackboneError
from lasttoken.model.tokens import ReadingRecord, surround

# Scripts written without spaces between words: the ideographs (class ID) and the scripts that need
# a dictionary to be divided (SA) of Unicode's line breaking, UAX #14.
_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan; Myanmar; Khmer
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # Japanese syllables, Chinese characters
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"  # further forms and rare characters
)
_MARKS = "".join(
    char for char in map(chr, range(0x0E00, 0x3100)) if unicodedata.category(char).startswith("M")
)
_WORD = re.compile(rf"[{_UNSPACED}][{_MARKS}]*|[^\s{_UNSPACED}]+")
_WORD_AND_SPACE = re.compile(r"\s*\S+|\s+")

Place = tuple[int, int]  # first character, and the one behind the last


class TextReader(Protocol):
    """What texts become tokens by: a `LoadedModel`, or an exported model."""

    @property
    def tokenizer(self) -> Any:  # noqa: ANN401 - of transformers, which brings torch
        """Of transformers, or one that is called like it."""

    @property
    def record(self) -> ReadingRecord:
        """How the texts are read."""


@dataclass(frozen=True)
class LocatedTokens:
    """The tokens of one text, or of two, as they are read, and where they stand.

    Attributes:
        token_ids: (L,) int32, as `Predictor.tokenize` gives them, windows end to end.
        places: (L, 2) int64, characters of the text, at least one; a second text stands behind the
            first and a line break (`Example.whole_text`). Of no meaning outside of them.
        is_text: (L,) bool, False for what template and tokenizer put around texts.
    """

    token_ids: NDArray[np.int32]
    places: NDArray[np.int64]
    is_text: NDArray[np.bool_]

    def read_words(self, words: list[Place]) -> list[Place]:
        """Return the words of which at least a part is read."""
        ends = max((stop for _, stop in words), default=0)
        is_read = np.zeros(max(ends, int(self.places.max(initial=0))), dtype=np.bool_)
        for start, stop in self.places[self.is_text].tolist():
            is_read[start:stop] = True
        return [(start, stop) for start, stop in words if is_read[start:stop].any()]


def has_places(loaded: TextReader) -> bool:
    """Return whether the tokenizer tells where its tokens stand."""
    return bool(loaded.tokenizer.is_fast)


def locate_tokens(loaded: TextReader, text: str, pair: str | None = None) -> LocatedTokens:
    """Tokenize a text as the classifier reads it, and find its tokens in the text as it came.

    Raises:
        BackboneError: the tokenizer does not tell where its tokens stand.
    """
    if not has_places(loaded):
        raise BackboneError(
            f"{type(loaded.tokenizer).__name__} does not tell where its tokens stand in a text",
            expected="a tokenizer with tokenizer.json for integrated gradients",
            remedy="explain by leaving out words",
        )
    reading = loaded.record.reading
    located = [_locate(loaded, text)]
    if pair is not None:
        ids, places = _locate(loaded, pair)
        located.append((ids, places + len(text) + 1))
    windows = reading.keep([len(ids) for ids, _ in located])
    members = [ids for ids, _ in located]
    token_ids = [token for kept in windows for token in surround(members, kept, reading)]
    if not token_ids:
        token_ids, windows = [int(loaded.tokenizer.eos_token_id)], []
    places = np.zeros((len(token_ids), 2), dtype=np.int64)
    is_text = np.zeros(len(token_ids), dtype=np.bool_)
    start = 0
    for kept in windows:
        start += len(reading.before)
        for (_, own), chosen in zip(located, kept, strict=True):
            places[start : start + len(chosen)] = own[chosen]
            is_text[start : start + len(chosen)] = True
            start += len(chosen) + len(reading.between)
        start += len(reading.after) - len(reading.between)
    return LocatedTokens(np.array(token_ids, dtype=np.int32), places, is_text)


def _locate(loaded: TextReader, text: str) -> tuple[list[int], NDArray[np.int64]]:
    """Return the tokens (L,) of one text alone and the characters (L, 2) that each stands for."""
    read = fix_texts([text])[0] if loaded.record.fix_text else text
    encoded = loaded.tokenizer(
        [read],
        add_special_tokens=False,
        return_offsets_mapping=True,
        split_special_tokens=True,
        verbose=False,
    )
    offsets = np.array(encoded["offset_mapping"][0], dtype=np.int64).reshape(-1, 2)  # in `read`
    places = _places_before_repair(text, read)[np.clip(offsets, 0, len(read))]
    places[:, 0] = np.minimum(places[:, 0], max(0, len(text) - 1))
    places[:, 1] = np.maximum(places[:, 1], places[:, 0] + 1)
    return list(encoded["input_ids"][0]), places


def blank_tokens(loaded: TextReader, tokens: LocatedTokens) -> NDArray[np.int32]:
    """Return the tokens with those of the text made to say nothing, (L,) int32.

    They become white space, but a first one end-of-text, as an empty text does: what stands first
    is what later tokens attend to when they look for nothing (Xiao et al., arXiv 2309.17453), and
    in a row of equal tokens each one looks like the first. Measured on a trained SmolLM2
    (docs/log.md): on the way from a row of one and the same vector, be it end-of-text, the mean
    embedding or zeros, the answer jumps, and integrated gradients do not add up; on the way from
    here it seldom does.
    """
    eos = int(loaded.tokenizer.eos_token_id)
    spaces = loaded.tokenizer(" ", add_special_tokens=False)["input_ids"]
    blank = np.where(tokens.is_text, spaces[-1] if spaces else eos, tokens.token_ids)
    first = np.arange(0, len(blank), loaded.record.reading.max_length)  # of each window
    blank[first] = np.where(tokens.is_text[first], eos, blank[first])
    return blank.astype(np.int32)


def find_words(text: str) -> list[Place]:
    """Return where the words of a text stand; mere white space is one word, nothing is none."""
    words = [match.span() for match in _WORD.finditer(text)] or [(0, len(text))]
    start, stop = words.pop()
    closing = stop
    while closing > start and unicodedata.category(text[closing - 1]).startswith("P"):
        closing -= 1
    words += [(start, closing), (closing, stop)] if start < closing < stop else [(start, stop)]
    return words if text else []


def _places_before_repair(text: str, read: str) -> NDArray[np.int64]:
    """Return where each character of a repaired text stood before, and its end: (len(read) + 1,).

    Words that were changed are stretched onto the words that they were made from, one onto one
    where there are as many.
    """
    if read == text:
        return np.arange(len(text) + 1)
    before, after = (_WORD_AND_SPACE.findall(version) for version in (text, read))
    starts, read_starts = (np.cumsum([0, *map(len, words)]) for words in (before, after))
    found = np.full(len(read) + 1, len(text), dtype=np.int64)
    for _, i1, i2, j1, j2 in SequenceMatcher(None, before, after).get_opcodes():
        is_even = i2 - i1 == j2 - j1
        old, new = (range(i1, i2 + 1), range(j1, j2 + 1)) if is_even else ((i1, i2), (j1, j2))
        for (old_start, old_stop), (start, stop) in zip(
            pairwise(starts[list(old)]), pairwise(read_starts[list(new)]), strict=True
        ):
            steps = np.linspace(old_start, old_stop, stop - start, endpoint=False)
            found[start:stop] = steps.astype(np.int64)
    return found


def group_words(words: list[Place], most: int) -> list[Place]:
    """Join consecutive words until there are at most so many spans, even in words."""
    if len(words) <= most:
        return words
    parts = np.array_split(np.array(words), most)
    return [(int(part[0, 0]), int(part[-1, 1])) for part in parts]


def leave_out(text: str, place: Place) -> str:
    """Return a text without a word, nor the white space before it; after it if it is the first."""
    before, after = text[: place[0]], text[place[1] :]
    return before.rstrip() + after if before.strip() else before + after.lstrip()
