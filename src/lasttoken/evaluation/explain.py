"""The words that mattered: what each word of a text does to a label's chances.

    p(positive | "a moving story")                0.93
    p(positive | "a story")                       0.55      so "moving" weighs +0.38

Two methods:

    leave-one-out          the text is read again without each word (Li et al., arXiv 1612.08220):
                           what the model really answers, at the price of one text a word
    integrated-gradients   what the word's tokens add on the way from a text that says nothing
                           (`gradients`): an approximation, slower, and defined where leaving out
                           one word changes nothing because the next one says the same

Neither says why the model learned this, nor what it should have read; and a text with a hole is
not one that anybody wrote. Texts of many words are cut into spans of several consecutive words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.gradients import token_attributions
from lasttoken.evaluation.words import (
    LocatedTokens,
    Place,
    blank_tokens,
    find_words,
    group_words,
    has_places,
    leave_out,
    locate_tokens,
)
from lasttoken.events import EventCallback, Note, Progress, ignore
from lasttoken.inference.prediction import make_ready
from lasttoken.inference.predictor import Predictor
from lasttoken.model.device import keep_freed_memory, resolve_device

Method = Literal["leave-one-out", "integrated-gradients"]

# What one text may cost when its words are left out. More than 64 colors nobody reads; 16,384
# tokens are seconds on two cores, and leave 16 spans to a text of 1,024 tokens.
MOST_SPANS = 64
MOST_TOKENS = 16_384

# Points at which gradients are taken. Sundararajan et al. find 20 to 300 enough.
NUM_STEPS = 32


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


def explain(
    predictor: Predictor,
    texts: Sequence[str],
    label_ids: NDArray[np.int64],
    *,
    pairs: Sequence[str] | None = None,
    method: Method = "leave-one-out",
    on_event: EventCallback = ignore,
) -> list[Explanation]:
    """Return what each word of each text does to a label's chances.

    A text's explanation does not depend on the other texts.

    Args:
        predictor: a fitted classifier.
        texts: B strings.
        label_ids: (B,) the label explained in each text, such as the predicted one.
        pairs: B second texts, or None; what is explained is then each `Example.whole_text`.
        method: see this module's beginning.
        on_event: hears `Progress("explain", ...)`.

    Returns:
        B explanations. The texts of each one's spans, joined, are the text; an empty text has no
        span.

    Raises:
        ValueError: there are not as many label ids as texts.
        BackboneError: integrated gradients of a tokenizer that does not tell where tokens stand.
    """
    methods: Mapping[Method, Callable[..., list[Explanation]]] = {
        "leave-one-out": explain_by_leaving_out,
        "integrated-gradients": explain_by_gradients,
    }
    return methods[method](predictor, texts, label_ids, pairs=pairs, on_event=on_event)


def explain_by_leaving_out(
    predictor: Predictor,
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

    Args, returns and errors are those of `explain`.
    """
    tokenized = predictor.tokenize(texts, pairs)
    work = tokenized.work.tolist()
    places: list[list[Place]] = []
    variants: list[tuple[str, ...]] = []
    for index, members in enumerate(_members(texts, pairs)):
        words = [find_words(member) for member in members]
        if tokenized.truncated[index] and has_places(predictor.loaded_):
            tokens = locate_tokens(predictor.loaded_, *members)
            words = [tokens.read_words(own) for own in _shifted(words, members)]
            words = _shifted(words, members, back=True)
        own = _grouped(words, min(MOST_SPANS, max(1, MOST_TOKENS // work[index])))
        variants += _variants(members, own)
        places.append([place for group in _shifted(own, members) for place in group])
    owner = np.repeat(np.arange(len(texts)), np.array([len(own) for own in places], dtype=np.int64))
    everything = [*_members(texts, pairs), *variants]
    logits = predictor.predict_logits(
        predictor.tokenize(*_columns(everything, pairs is not None)),
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
        _spans("\n".join(members), own, weights[owner == index])
        for index, (members, own) in enumerate(zip(_members(texts, pairs), places, strict=True))
    ]


def explain_by_gradients(
    predictor: Predictor,
    texts: Sequence[str],
    label_ids: NDArray[np.int64],
    *,
    pairs: Sequence[str] | None = None,
    num_steps: int = NUM_STEPS,
    on_event: EventCallback = ignore,
) -> list[Explanation]:
    """Return the integrated gradients of the label's log odds, summed over each word's tokens.

    Computed in fp32, one text at a time, whatever its length. What template and tokenizer put
    around it is the same at both ends of the way and weighs nothing. A token's weight is
    shared equally by its characters; white space counts to the word behind it. At most `MOST_SPANS`
    spans, as with `explain_by_leaving_out`.

    Args, returns and errors are those of `explain`, and:
        num_steps: points on the way at which gradients are taken; four times as many for a text
            whose weights do not add up. Those that still do not are counted in a `Note`.
    """
    loaded = predictor.loaded_
    device = resolve_device(predictor.device)
    make_ready(loaded.classifier, device)
    keep_freed_memory()
    explanations: list[Explanation] = []
    num_doubtful = 0
    for members, label_id in zip(
        _members(texts, pairs), np.asarray(label_ids).tolist(), strict=True
    ):
        tokens = locate_tokens(loaded, *members)
        words = _shifted([find_words(member) for member in members], members)
        places = [place for own in _grouped([tokens.read_words(each) for each in words], MOST_SPANS)
                  for place in own]  # fmt: skip
        weights = np.zeros(len(places))
        if places:
            attributions = token_attributions(
                loaded.classifier,
                tokens.token_ids,
                blank_tokens(loaded, tokens),
                label_id,
                num_steps=num_steps,
                window_length=loaded.record.reading.window_length,
            )
            weights = _share(attributions.by_token, tokens, places)
            num_doubtful += not attributions.adds_up
        explanations.append(_spans("\n".join(members), places, weights))
        on_event(Progress("explain", len(explanations), len(texts), "texts"))
    if num_doubtful:
        on_event(
            Note(
                f"integrated gradients of {num_doubtful:,} of {len(texts):,} texts do not add up "
                "to what the model answers, even in small steps: trust leave-one-out there",
                is_warning=True,
            )
        )
    return explanations


def _members(texts: Sequence[str], pairs: Sequence[str] | None) -> list[tuple[str, ...]]:
    """Return each text, or each text and its pair."""
    return [(text,) for text in texts] if pairs is None else list(zip(texts, pairs, strict=True))


def _columns(members: list[tuple[str, ...]], has_pairs: bool) -> list[list[str]]:
    """Return all texts, and all second ones if there are any."""
    return [[each[place] for each in members] for place in range(1 + has_pairs)]


def _shifted(
    words: list[list[Place]], members: tuple[str, ...], *, back: bool = False
) -> list[list[Place]]:
    """Return places in each member as places in the whole text; the other way round if `back`."""
    starts = [0, -1 - len(members[0]) if back else 1 + len(members[0])]
    return [[(start + shift, stop + shift) for start, stop in own]
            for own, shift in zip(words, starts, strict=False)]  # fmt: skip


def _grouped(words: list[list[Place]], most: int) -> list[list[Place]]:
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


def _share(
    attributions: NDArray[np.float64], tokens: LocatedTokens, places: list[Place]
) -> NDArray[np.float64]:
    """Return the attributions of tokens (L,) as those of spans (S,)."""
    ends = np.array([end for _, end in places])
    weights: Any = np.zeros(len(places))
    for attribution, (start, end) in zip(attributions[tokens.is_text],
                                         tokens.places[tokens.is_text], strict=True):  # fmt: skip
        # White space in front of a span counts to it, behind the last one to the last.
        spans = np.searchsorted(ends, np.arange(start, end), side="right").clip(0, len(ends) - 1)
        np.add.at(weights, spans, attribution / (end - start))
    return np.asarray(weights)


def _spans(text: str, places: list[Place], weights: NDArray[np.float64]) -> Explanation:
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
