"""Failures of label sets: the surest wrong decisions, and labels missed where others were given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lasttoken.data.examples import Example
from lasttoken.evaluation.failures import (
    MOST_ERRORS,
    MOST_PAIRS,
    TEXTS_OF_A_PAIR,
    Failures,
    fitting_on_a_page,
    place_of,
    shorten,
)
from lasttoken.evaluation.metrics import Probs
from lasttoken.evaluation.multi_label.metrics import Floats, Sets


def mistakes_list(
    examples: Sequence[Example], targets: Sets, probs: Probs, given: Sets, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the pairs of a missed and a wrongly given label, as in `metrics.json`.

    The commonest come first, of equals the larger share of the missed label's examples; texts are
    those in which the wrong label is surest.
    """
    missed, wrong = targets & ~given, given & ~targets
    counts = missed.T.astype(np.int64) @ wrong.astype(np.int64)  # (C, C)
    shares = counts / np.maximum(targets.sum(axis=0), 1)[:, None]
    found = []
    for place in np.lexsort((-shares.ravel(), -counts.ravel()))[:MOST_PAIRS].tolist():
        one, other = divmod(place, len(labels))
        if not counts[one, other]:
            break
        members = np.flatnonzero(missed[:, one] & wrong[:, other])
        surest = members[np.argsort(-probs[members, other], kind="stable")]
        found.append(
            {
                "missed": labels[one],
                "given": labels[other],
                "count": int(counts[one, other]),
                "share": float(shares[one, other]),
                "examples": [
                    {
                        **place_of(examples[row]),
                        "text": shorten(examples[row].whole_text),
                        "probability": float(probs[row, other]),
                    }
                    for row in surest[:TEXTS_OF_A_PAIR].tolist()
                ],
            }
        )
    return found


def set_failures(
    examples: Sequence[Example],
    targets: Sets,
    probs: Probs,
    thresholds: Floats,
    labels: Sequence[str],
    limit: int = MOST_ERRORS,
) -> Failures:
    """Return the examples with the surest wrong decision, as long as their texts fit on a page.

    A wrong decision is a label missed or wrongly given; it is the surer the less probable the
    truth was to the model.

    Shapes:
        targets (N, C) bool; probs (N, C), rows in the order of `examples`; thresholds (C,).
    """
    given = probs >= thresholds
    truth = np.where(targets, probs, 1.0 - probs)
    truth_if_wrong = np.where(targets == given, np.inf, truth)
    worst = truth_if_wrong.argmin(axis=1)  # (N,)
    wrong = np.flatnonzero((targets != given).any(axis=1))
    order = wrong[np.argsort(truth_if_wrong[wrong, worst[wrong]], kind="stable")]
    rows, num_too_long = fitting_on_a_page(examples, order, limit)
    names = np.array(labels, dtype=object)
    entries = [
        {
            **place_of(examples[row]),
            "labels": names[targets[row]].tolist(),
            "predicted": names[given[row]].tolist(),
            "decision": {
                "label": labels[worst[row]],
                "is_given": bool(given[row, worst[row]]),
                "probability": float(probs[row, worst[row]]),
                "threshold": float(thresholds[worst[row]]),
            },
        }
        for row in rows.tolist()
    ]
    return Failures(rows, worst[rows], entries, len(wrong), num_too_long)
