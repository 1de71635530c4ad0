"""Words that mattered, by leaving them out: the text is read again without each word; no torch.

    p(positive | "a moving story")                0.93
    p(positive | "a story")                       0.55      so "moving" weighs +0.38

See `explain` for what that tells, and what it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.words import (
    Place,
    TextReader,
    find_words,
    group_words,
    has_places,
    leave_out,
    locate_tokens,
)
from lasttoken.events import EventCallback, ignore
from lasttoken.model.tokens import TokenizedTexts

# What one text may cost when its words are left out. More than 64 colors nobody reads; 16,384
# tokens are seconds on two cores, and leave 16 spans to a text of 1,024 tokens.
MOST_SPANS = 64
MOST_TOKENS = 16_384


@dataclass(frozen=True)
class Span:
    """A stretch of a text.

    Attributes:
        text: one word, several consecutive ones with the white space between them, or what lies
            between two such stretches or behind the last (white space, words that were not read).
        weight: by how much it speaks for the label; negative if against it. Leave-one-out: by how
            much it raises the label's probability, -1 to 1. Integrated gradients: the log odds
            (nats) it adds; all weights of a text add up to about the log odds of the label less
            those in a text that says nothing. Exactly 0.0 for what lies between and behind.
    """

    text: str
    weight: float


Explanation = tuple[Span, ...]


class Explained(Protocol):
    """A model that reads texts; see `Predictor`."""

    @property
    def loaded_(self) -> TextReader:
        """How its texts become tokens."""

    def tokenize(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> TokenizedTexts:
        """Return N texts as the model reads them."""

    def predict_logits(
        self, texts: TokenizedTexts, *, phase: str = "predict", on_event: EventCallback = ignore
    ) -> NDArray[np.float32]:
        """Return logits (N, C)."""

    def probs(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return probabilities (N, C) of logits, or numbers."""


def explain_by_leaving_out(
    predictor: Explained,
    texts: Sequence[str],
    label_ids: NDArray[np.int64],
    *,
    pairs: Sequence[str] | None = None,
    on_event: EventCallback = ignore,
) -> list[Explanation]:
    """Return p(label | text) - p(label | text without the word) as each word's weight.

    A word is left out with the white space in front of it, the first one with that behind it. All
    texts without one of their words are read in one pass, in the predictor's precision. Words of a
    part that is cut away are not left out: their weight is 0. Leaving out a word of a text that is
    cut lets in what stood behind the cut.

    A text is divided into at most `MOST_SPANS` spans, and into so few that all it takes is about
    `MOST_TOKENS` tokens; they hold equally many words, give or take one.

    Args:
        predictor: what answers.
        texts: B strings.
        label_ids: (B,) the label explained in each text, such as the predicted one.
        pairs: B second texts, or None; what is explained is then each `Example.whole_text`.
        on_event: hears `Progress("explain", ...)`.

    Returns:
        B explanations. The texts of each one's spans, joined, are the text; an empty text has no
        span.

    Raises:
        ValueError: there are not as many label ids as texts.
    """
    tokenized = predictor.tokenize(texts, pairs)
    work = tokenized.work.tolist()
    places: list[list[Place]] = []
    variants: list[tuple[str, ...]] = []
    for index, members in enumerate(members_of(texts, pairs)):
        words = [find_words(member) for member in members]
        if tokenized.truncated[index] and has_places(predictor.loaded_):
            tokens = locate_tokens(predictor.loaded_, *members)
            words = [tokens.read_words(own) for own in shift_words(words, members)]
            words = shift_words(words, members, back=True)
        own = group_members(words, min(MOST_SPANS, max(1, MOST_TOKENS // work[index])))
        variants += _variants(members, own)
        places.append([place for group in shift_words(own, members) for place in group])
    owner = np.repeat(np.arange(len(texts)), np.array([len(own) for own in places], dtype=np.int64))
    everything = [*members_of(texts, pairs), *variants]
    logits = predictor.predict_logits(
        predictor.tokenize(*columns_of(everything, pairs is not None)),
        phase="explain",
        on_event=on_event,
    )
    probs = predictor.probs(logits)
    whole = np.array(
        [row[label] for row, label in zip(probs[: len(texts)], label_ids, strict=True)]
    )
    left = probs[len(texts) :][np.arange(len(variants)), np.asarray(label_ids)[owner]]
    weights = whole[owner] - left
    return [
        spans_of("\n".join(members), own, weights[owner == index])
        for index, (members, own) in enumerate(zip(members_of(texts, pairs), places, strict=True))
    ]


def members_of(texts: Sequence[str], pairs: Sequence[str] | None) -> list[tuple[str, ...]]:
    """Return each text, or each text and its pair."""
    return [(text,) for text in texts] if pairs is None else list(zip(texts, pairs, strict=True))


def columns_of(members: list[tuple[str, ...]], has_pairs: bool) -> list[list[str]]:
    """Return all texts, and all second ones if there are any."""
    return [[each[place] for each in members] for place in range(1 + has_pairs)]


def shift_words(
    words: list[list[Place]], members: tuple[str, ...], *, back: bool = False
) -> list[list[Place]]:
    """Return places in each member as places in the whole text; the other way round if `back`."""
    starts = [0, -1 - len(members[0]) if back else 1 + len(members[0])]
    return [[(start + shift, stop + shift) for start, stop in own]
            for own, shift in zip(words, starts, strict=False)]  # fmt: skip


def group_members(words: list[list[Place]], most: int) -> list[list[Place]]:
    """Join the words of each member until there are at most so many spans in all, or one each."""
    total = sum(map(len, words))
    room = [max(1, most // len(words), most - (total - len(own))) for own in words]
    return [group_words(own, share) for own, share in zip(words, room, strict=True)]


def _variants(members: tuple[str, ...], places: list[list[Place]]) -> list[tuple[str, ...]]:
    """Return the members without one of their spans, for each span."""
    return [
        (*members[:number], leave_out(members[number], place), *members[number + 1 :])
        for number, own in enumerate(places)
        for place in own
    ]


def spans_of(text: str, places: list[Place], weights: NDArray[np.float64]) -> Explanation:
    """Return spans with their weights, and with 0.0 what lies between and behind them."""
    spans = []
    done = 0
    for (start, end), weight in zip(places, weights.tolist(), strict=True):
        if start > done:
            spans.append(Span(text[done:start], 0.0))
        spans.append(Span(text[start:end], weight))
        done = end
    if done < len(text):
        spans.append(Span(text[done:], 0.0))
    return tuple(spans)
