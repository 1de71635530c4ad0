"""The words that mattered: what each word of a text does to a label's chances.

    p(positive | "a moving story")                0.93
    p(positive | "a story")                       0.55      so "moving" weighs +0.38

Two methods:

    leave-one-out          the text is read again without each word (Li et al., arXiv 1612.08220):
                           what the model really answers, at the price of one text a word
                           (`leaving_out`)
    integrated-gradients   what the word's tokens add on the way from a text that says nothing
                           (`gradients`): an approximation, slower, and defined where leaving out
                           one word changes nothing because the next one says the same

Neither says why the model learned this, nor what it should have read; and a text with a hole is
not one that anybody wrote. Texts of many words are cut into spans of several consecutive words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.gradients import token_attributions
from lasttoken.evaluation.leaving_out import (
    MOST_SPANS,
    Explanation,
    explain_by_leaving_out,
    group_members,
    members_of,
    shift_words,
    spans_of,
)
from lasttoken.evaluation.words import (
    LocatedTokens,
    Place,
    blank_tokens,
    find_words,
    locate_tokens,
)
from lasttoken.events import EventCallback, Note, Progress, ignore
from lasttoken.inference.prediction import make_ready
from lasttoken.inference.predictor import Predictor
from lasttoken.model.device import keep_freed_memory, resolve_device

Method = Literal["leave-one-out", "integrated-gradients"]

# Points at which gradients are taken. Sundararajan et al. find 20 to 300 enough.
NUM_STEPS = 32


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
        members_of(texts, pairs), np.asarray(label_ids).tolist(), strict=True
    ):
        tokens = locate_tokens(loaded, *members)
        words = shift_words([find_words(member) for member in members], members)
        groups = group_members([tokens.read_words(each) for each in words], MOST_SPANS)
        places = [place for own in groups for place in own]
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
        explanations.append(spans_of("\n".join(members), places, weights))
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
