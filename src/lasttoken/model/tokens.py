"""Texts to token ids: one pass, long ones cut or divided into windows, counted, kept flat.

    texts       "a b c"   ""        "d e"
    token_ids    5 6 7    0         8 9        one flat int32 array
    offsets     0         3         4         6

An empty text that the tokenizer turns into no token at all becomes one end-of-text token, so
that every text has a last token to read. Windows of a long text lie end to end, each of just
`max_length` tokens, so that the length of a text tells how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.unicode import fix_texts
from lasttoken.events import EventCallback, Progress, ignore
from lasttoken.model.reading import Kept, Reading, check_pairs_fit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TEXTS_PER_CALL = 1_000  # large enough for the tokenizer's threads, small enough for progress


@dataclass(frozen=True)
class TokenizedTexts:
    """N texts as token ids, laid end to end.

    Attributes:
        token_ids: (sum of lengths,) int32, after cutting.
        offsets: (N + 1,) int64; text i is `token_ids[offsets[i]:offsets[i + 1]]`, all its windows.
        num_tokens: (N,) int64, tokens of each text before cutting.
        truncated: (N,) bool, which texts were cut.
        reading: how they became tokens.
    """

    token_ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    num_tokens: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    reading: Reading

    def __len__(self) -> int:
        """Return N."""
        return len(self.num_tokens)

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        """Return the token ids of one text, (L,) int32, its windows end to end."""
        return self.token_ids[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return tokens of each text after cutting, (N,) int64, those of all its windows."""
        return np.diff(self.offsets)

    @property
    def num_windows(self) -> NDArray[np.int64]:
        """Return how many windows each text is read in, (N,) int64; 1 where it is read at once."""
        return np.maximum(1, self.lengths // self.reading.max_length)

    @property
    def work(self) -> NDArray[np.int64]:
        """Return the tokens computed for each text in a batch, (N,): the prompt is shared."""
        prompt = len(self.reading.prompt)
        return self.lengths if not prompt else np.maximum(
            self.lengths - self.num_windows * prompt, 1
        )  # fmt: skip

    def stretches(self, index: int) -> list[tuple[int, int]]:
        """Return where the windows of one text begin and end in `token_ids`."""
        start, stop = self.offsets[index : index + 2].tolist()
        length = (stop - start) // int(self.num_windows[index])
        return [(at, at + length) for at in range(start, stop, length)]

    def windows(self) -> TokenizedTexts:
        """Return every window as a text of its own, the windows of one text side by side."""
        lengths = np.repeat(self.lengths // self.num_windows, self.num_windows)
        return TokenizedTexts(
            self.token_ids,
            np.concatenate([[0], np.cumsum(lengths)]),
            lengths,
            np.zeros(len(lengths), dtype=np.bool_),
            replace(self.reading, long="cut-end"),
        )

    def take(self, indices: NDArray[np.int64]) -> TokenizedTexts:
        """Return some of the texts, in the order of `indices`."""
        parts = [self[index] for index in indices.tolist()]
        return TokenizedTexts(
            np.concatenate([np.zeros(0, dtype=np.int32), *parts]),
            np.concatenate([[0], np.cumsum(self.lengths[indices])]),
            self.num_tokens[indices],
            self.truncated[indices],
            self.reading,
        )


class ReadingRecord(Protocol):
    """What the record of a model, exported or not, says of reading; see `ModelRecord`."""

    @property
    def reading(self) -> Reading:
        """How texts become tokens."""

    @property
    def fix_text(self) -> bool:
        """Whether broken Unicode is repaired first."""


def read_texts(
    tokenizer: PreTrainedTokenizerBase,
    record: ReadingRecord,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    on_event: EventCallback = ignore,
) -> TokenizedTexts:
    """Return texts as a trained model reads them: repaired if it was trained so, and cut.

    Args:
        tokenizer: the model's.
        record: the model's.
        texts: N strings.
        pairs: N second ones, if it was trained on pairs.
        on_event: hears `Progress("tokenize", ...)`.

    Raises:
        DatasetError: it was trained on pairs, and there are none; or the other way round.
    """
    check_pairs_fit(record.reading, has_pairs=pairs is not None)
    if record.fix_text:
        texts, pairs = fix_texts(texts), pairs and fix_texts(pairs)
    return tokenize(tokenizer, texts, record.reading, pairs=pairs, on_event=on_event)


def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    reading: Reading,
    *,
    pairs: Sequence[str] | None = None,
    on_event: EventCallback = ignore,
) -> TokenizedTexts:
    """Turn texts into token ids; cut or divide those of more than `max_length` tokens.

    Special-token names inside a text are text: a tokenizer loaded by this package splits them.

    Args:
        tokenizer: with an end-of-text token; puts around every text what `reading` says
            (`frame.settle_reading`).
        texts: N strings.
        reading: how they are read.
        pairs: N second texts, or None.
        on_event: hears `Progress("tokenize", ...)`.
    """
    chunks: list[NDArray[np.int32]] = []
    num_tokens: list[int] = []
    truncated = np.zeros(len(texts), dtype=np.bool_)
    for start in range(0, len(texts), _TEXTS_PER_CALL):
        stop = start + _TEXTS_PER_CALL
        members = [list(texts[start:stop])]
        if pairs is not None:
            members.append(list(pairs[start:stop]))
        encoded = _encode(tokenizer, members)
        num_tokens.extend(max(len(ids), 1) for ids in encoded)
        for place, ids in enumerate(encoded):
            if not ids:
                encoded[place] = [int(tokenizer.eos_token_id)]
        too_long = [place for place, ids in enumerate(encoded) if len(ids) > reading.max_length]
        if too_long:
            shorten = _cut if reading.long in ("cut-end", "cut-start") else _lay_out
            long_members = [[member[place] for place in too_long] for member in members]
            shortened = shorten(tokenizer, long_members, reading)
            for place, (ids, is_cut) in zip(too_long, shortened, strict=True):
                encoded[place], truncated[start + place] = ids, is_cut
        chunks.extend(np.array(ids, dtype=np.int32) for ids in encoded)
        on_event(Progress("tokenize", min(stop, len(texts)), len(texts), "texts"))
    offsets = np.zeros(len(chunks) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids in chunks], out=offsets[1:])
    flat = np.concatenate([np.zeros(0, dtype=np.int32), *chunks])
    return TokenizedTexts(flat, offsets, np.array(num_tokens, dtype=np.int64), truncated, reading)


def surround(members: Sequence[Sequence[int]], kept: Kept, reading: Reading) -> list[int]:
    """Return the kept tokens of a text, or of two, with what stands around them."""
    parts = [[ids[place] for place in places.tolist()]
             for ids, places in zip(members, kept, strict=True)]  # fmt: skip
    middle = [] if len(parts) == 1 else [*reading.between, *parts[1]]
    return [*reading.before, *parts[0], *middle, *reading.after]


_Shortened = list[tuple[list[int], bool]]  # token ids of each text, and whether it was cut


def _cut(
    tokenizer: PreTrainedTokenizerBase, members: list[list[str]], reading: Reading
) -> _Shortened:
    """Cut by the tokenizer, as other programs do, on the side that it is told."""
    encoded = _encode(tokenizer, members, max_length=reading.max_length)
    return [(ids, True) for ids in encoded]


def _lay_out(
    tokenizer: PreTrainedTokenizerBase, members: list[list[str]], reading: Reading
) -> _Shortened:
    """Cut or divide in ways that tokenizers do not know."""
    bare = [_encode(tokenizer, [member], add_special_tokens=False) for member in members]
    shortened = []
    for texts in zip(*bare, strict=True):
        windows = reading.keep([len(ids) for ids in texts])
        ids = [token for kept in windows for token in surround(texts, kept, reading)]
        num_read = sum(
            len(np.unique(np.concatenate(places))) for places in zip(*windows, strict=True)
        )
        shortened.append((ids, num_read < sum(map(len, texts))))
    return shortened


def _encode(
    tokenizer: PreTrainedTokenizerBase,
    members: list[list[str]],
    *,
    max_length: int | None = None,
    add_special_tokens: bool = True,
) -> list[list[int]]:
    """Return the token ids of N texts, or of N texts and their pairs."""
    encoded = tokenizer(
        *members,
        truncation=max_length is not None,
        max_length=max_length,
        padding=False,
        add_special_tokens=add_special_tokens,
        return_attention_mask=False,
        split_special_tokens=True,
        verbose=False,
    )
    return list(encoded["input_ids"])
