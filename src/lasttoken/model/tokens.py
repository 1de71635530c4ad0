"""Texts to token ids: one pass, cut at the model's limit, counted, kept flat.

    texts       "a b c"   ""        "d e"
    token_ids    5 6 7    0         8 9        one flat int32 array
    offsets     0         3         4         6

An empty text that the tokenizer turns into no token at all becomes one end-of-text token, so
that every text has a last token to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lasttoken.events import EventCallback, Progress, ignore

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TEXTS_PER_CALL = 1_000  # large enough for the tokenizer's threads, small enough for progress


@dataclass(frozen=True)
class TokenizedTexts:
    """N texts as token ids, laid end to end.

    Attributes:
        token_ids: (sum of lengths,) int32, after cutting.
        offsets: (N + 1,) int64; text i is `token_ids[offsets[i]:offsets[i + 1]]`.
        num_tokens: (N,) int64, tokens of each text before cutting.
        max_length: the limit in tokens at which texts were cut.
        prompt: (P,) int32, tokens that the texts may start with; P = 0 without a prompt.
    """

    token_ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    num_tokens: NDArray[np.int64]
    max_length: int
    prompt: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))

    def __len__(self) -> int:
        """Return N."""
        return len(self.num_tokens)

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        """Return the token ids of one text, (L,) int32."""
        return self.token_ids[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return tokens of each text after cutting, (N,) int64."""
        return np.diff(self.offsets)

    @property
    def truncated(self) -> NDArray[np.bool_]:
        """Return which texts were cut, (N,) bool."""
        return self.num_tokens > self.max_length


def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_length: int,
    pairs: Sequence[str] | None = None,
    prompt: str = "",
    on_event: EventCallback = ignore,
) -> TokenizedTexts:
    """Turn texts into token ids; cut at `max_length` and count what was cut.

    Special-token names inside a text are text: a tokenizer loaded by this package splits them.

    Args:
        tokenizer: with an end-of-text token.
        texts: N strings.
        max_length: tokens, at least 1, special tokens that the tokenizer adds included.
        pairs: N second texts, or None.
        prompt: put in front of every text.
        on_event: hears `Progress("tokenize", ...)`.
    """
    chunks: list[NDArray[np.int32]] = []
    num_tokens: list[int] = []
    for start in range(0, len(texts), _TEXTS_PER_CALL):
        stop = start + _TEXTS_PER_CALL
        pair_chunk = list(pairs[start:stop]) if pairs is not None else None
        chunk = [prompt + text for text in texts[start:stop]]
        encoded = _encode(tokenizer, chunk, pair_chunk)
        num_tokens.extend(max(len(ids), 1) for ids in encoded)
        for place, ids in enumerate(encoded):
            if not ids:
                encoded[place] = [int(tokenizer.eos_token_id)]
        too_long = [place for place, ids in enumerate(encoded) if len(ids) > max_length]
        if too_long:  # cut by the tokenizer, which keeps the special tokens it adds at the end
            cut = _encode(
                tokenizer,
                [chunk[place] for place in too_long],
                [pair_chunk[place] for place in too_long] if pair_chunk is not None else None,
                max_length=max_length,
            )
            for place, ids in zip(too_long, cut, strict=True):
                encoded[place] = ids
        chunks.extend(np.array(ids, dtype=np.int32) for ids in encoded)
        on_event(Progress("tokenize", min(stop, len(texts)), len(texts), "texts"))
    offsets = np.zeros(len(chunks) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids in chunks], out=offsets[1:])
    flat = np.concatenate([np.zeros(0, dtype=np.int32), *chunks])
    return TokenizedTexts(
        flat,
        offsets,
        np.array(num_tokens, dtype=np.int64),
        max_length,
        prompt_tokens(tokenizer, prompt),
    )


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, prompt: str) -> NDArray[np.int32]:
    """Return the tokens of a prompt that do not depend on what follows it, (P,) int32.

    The last ones may melt together with the beginning of a text; what stays is what the prompt has
    in common alone and before a letter, a space or a line break. A text that starts otherwise
    nevertheless is read whole (`batch.pack_examples`).
    """
    if not prompt:
        return np.zeros(0, dtype=np.int32)
    encoded = _encode(tokenizer, [prompt + end for end in ("", "a", " a", "\n")], None)
    shortest = min(len(ids) for ids in encoded)
    same = [len({ids[place] for ids in encoded}) == 1 for place in range(shortest)]
    return np.array(encoded[0][: (*same, False).index(False)], dtype=np.int32)


def _encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    pairs: list[str] | None,
    max_length: int | None = None,
) -> list[list[int]]:
    encoded = tokenizer(
        texts,
        pairs,
        truncation=max_length is not None,
        max_length=max_length,
        padding=False,
        return_attention_mask=False,
        split_special_tokens=True,
        verbose=False,
    )
    return list(encoded["input_ids"])
