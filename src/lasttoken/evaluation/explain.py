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
    method: Method = "leave-one-out",
    on_event: EventCallback = ignore,
) -> list[Explanation]:
    """Return what each word of each text does to a label's chances.

    A text's explanation does not depend on the other texts.

    Args:
        predictor: a fitted classifier.
        texts: B strings.
        label_ids: (B,) the label explained in each text, such as the predicted one.
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
    return methods[method](predictor, texts, label_ids, on_event=on_event)


def explain_by_leaving_out(
    predictor: Predictor,
    texts: Sequence[str],
    label_ids: NDArray[np.int64],
    *,
    on_event: EventCallback = ignore,
) -> list[Explanation]:
    """Return p(label | text) - p(label | text without the word) as each word's weight.

    A word is left out with the white space in front of it, the first one with that behind it. All
    texts without one of their words are read in one pass, in the predictor's precision. Words
    behind the point where a text is cut at `max_length` are not left out: their weight is 0.
    Leaving out a word of a text that is cut lets in what stood behind the cut.

    A text is divided into at most `MOST_SPANS` spans, and into so few that all it takes is about
    `MOST_TOKENS` tokens; they hold equally many words, give or take one.

    Args, returns and errors are those of `explain`.
    """
    tokenized = predictor.tokenize(texts)
    places: list[list[Place]] = []
    for index, text in enumerate(texts):
        is_cut = tokenized.truncated[index] and has_places(predictor.loaded_)
        end = locate_tokens(predictor.loaded_, text).end if is_cut else len(text)
        length = max(1, int(tokenized.lengths[index]) - len(tokenized.prompt))
        most = min(MOST_SPANS, max(1, MOST_TOKENS // length))
        places.append(group_words(find_words(text, end), most))
    variants = [leave_out(text, place) for text, own in zip(texts, places, strict=True)
                for place in own]  # fmt: skip
    owner = np.repeat(np.arange(len(texts)), np.array([len(own) for own in places], dtype=np.int64))
    logits = predictor.predict_logits(
        predictor.tokenize([*texts, *variants]), phase="explain", on_event=on_event
    )
    probs = predictor.probs(logits)
    whole = np.array(
        [row[label] for row, label in zip(probs[: len(texts)], label_ids, strict=True)]
    )
    left = probs[len(texts) :][np.arange(len(variants)), np.asarray(label_ids)[owner]]
    weights = whole[owner] - left
    return [
        _spans(text, own, weights[owner == index])
        for index, (text, own) in enumerate(zip(texts, places, strict=True))
    ]


def explain_by_gradients(
    predictor: Predictor,
    texts: Sequence[str],
    label_ids: NDArray[np.int64],
    *,
    num_steps: int = NUM_STEPS,
    on_event: EventCallback = ignore,
) -> list[Explanation]:
    """Return the integrated gradients of the label's log odds, summed over each word's tokens.

    Computed in fp32, one text at a time, whatever its length. The prompt, and special tokens that
    the tokenizer adds, are the same at both ends of the way and weigh nothing. A token's weight is
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
    for text, label_id in zip(texts, np.asarray(label_ids).tolist(), strict=True):
        tokens = locate_tokens(loaded, text)
        places = group_words(find_words(text, tokens.end), MOST_SPANS)
        weights = np.zeros(len(places))
        if places:
            attributions = token_attributions(
                loaded.classifier,
                tokens.token_ids,
                blank_tokens(loaded, tokens),
                label_id,
                num_steps=num_steps,
            )
            weights = _share(attributions.by_token, tokens, places)
            num_doubtful += not attributions.adds_up
        explanations.append(_spans(text, places, weights))
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
