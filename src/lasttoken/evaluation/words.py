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

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.unicode import fix_texts
from lasttoken.errors import BackboneError
from lasttoken.model.folder import LoadedModel

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


@dataclass(frozen=True)
class LocatedTokens:
    """The tokens of one text as it is read, and where they stand in it.

    Attributes:
        token_ids: (L,) int32, as `Predictor.tokenize` gives them.
        places: (L, 2) int64, characters of the text, at least one; of no meaning outside it.
        is_text: (L,) bool, False for the prompt and for what the tokenizer adds.
    """

    token_ids: NDArray[np.int32]
    places: NDArray[np.int64]
    is_text: NDArray[np.bool_]

    @property
    def end(self) -> int:
        """Return the place behind the last character that is read."""
        return int(self.places[self.is_text, 1].max(initial=0))


def has_places(loaded: LoadedModel) -> bool:
    """Return whether the tokenizer tells where its tokens stand."""
    return bool(loaded.tokenizer.is_fast)


def locate_tokens(loaded: LoadedModel, text: str) -> LocatedTokens:
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
    record = loaded.record
    read = fix_texts([text])[0] if record.fix_text else text
    encoded = loaded.tokenizer(
        record.prompt + read,
        truncation=True,
        max_length=record.max_length,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        split_special_tokens=True,
        verbose=False,
    )
    token_ids = np.array(encoded["input_ids"], dtype=np.int32)
    if not len(token_ids) or not read:
        ids = token_ids if len(token_ids) else np.array([loaded.tokenizer.eos_token_id], np.int32)
        return LocatedTokens(ids, np.zeros((len(ids), 2), np.int64), np.zeros(len(ids), np.bool_))
    offsets = np.array(encoded["offset_mapping"], dtype=np.int64)  # (L, 2) in prompt + read
    is_added = np.array(encoded["special_tokens_mask"], dtype=np.bool_)
    is_text = ~is_added & ((offsets[:, 1] > len(record.prompt)) | (not record.prompt))
    inside = np.clip(offsets - len(record.prompt), 0, len(read))
    places = _places_before_repair(text, read)[inside]
    places[:, 0] = np.minimum(places[:, 0], len(text) - 1)
    places[:, 1] = np.maximum(places[:, 1], places[:, 0] + 1)
    return LocatedTokens(token_ids, places, is_text)


def blank_tokens(loaded: LoadedModel, tokens: LocatedTokens) -> NDArray[np.int32]:
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
    blank[0] = eos if tokens.is_text[0] else blank[0]
    return blank.astype(np.int32)


def find_words(text: str, end: int) -> list[Place]:
    """Return where the words that begin before `end` stand; mere white space is one word."""
    words = [match.span() for match in _WORD.finditer(text)] or [(0, len(text))]
    start, stop = words.pop()
    closing = stop
    while closing > start and unicodedata.category(text[closing - 1]).startswith("P"):
        closing -= 1
    words += [(start, closing), (closing, stop)] if start < closing < stop else [(start, stop)]
    return [(start, stop) for start, stop in words if start < min(end, len(text))]


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
