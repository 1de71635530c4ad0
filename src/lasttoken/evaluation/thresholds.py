"""Thresholds: from which probability on is a text given a label?

The most probable label is right most often; but a search for spam or for complaints may want few
false alarms, or few misses. Thresholds are chosen on validation examples and measured on test ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.abstaining import choose_level, recall_levels
from lasttoken.evaluation.intervals import wilson
from lasttoken.evaluation.metrics import Probs

NUM_POINTS = 51  # of a curve: thresholds 0, 0.02 ... 1


def best_f1_threshold(probs: NDArray[np.float64], is_label: NDArray[np.bool_]) -> float | None:
    """Return the threshold of the largest F1, the largest of equals; None without an example of it.

    It stands half way between the last probability that is given the label and the first that is
    not, as splits of a decision tree do: rounding then moves no example across it.

    Shapes:
        probs (N,) of one label; is_label (N,).
    """
    if not is_label.any():
        return None
    order = np.argsort(-probs, kind="stable")
    ordered, hits = probs[order], np.cumsum(is_label[order])
    answered = np.arange(1, len(ordered) + 1)
    f1 = 2 * hits / (answered + int(is_label.sum()))
    is_last_of_equals = np.append(ordered[1:] != ordered[:-1], True)
    place = int(np.argmax(np.where(is_last_of_equals, f1, -1.0)))
    last, first = ordered[place], np.append(ordered, 0.0)[place + 1]
    half_way = float((last + first) / 2)
    return half_way if half_way > first else float(last)  # neighbors among floats have no middle


def choose_thresholds(
    targets: NDArray[np.bool_], probs: Probs, labels: Sequence[str]
) -> dict[str, float | None]:
    """Return the threshold of each label's largest F1 on validation examples.

    Shapes:
        targets (N, C), which labels each example has; probs (N, C).
    """
    return {
        label: best_f1_threshold(probs[:, number], targets[:, number])
        for number, label in enumerate(labels)
    }


def thresholds_array(
    chosen: Mapping[str, float | None], labels: Sequence[str]
) -> NDArray[np.float64]:
    """Return the threshold of each label (C,); 0.5 where none was chosen."""
    found = [chosen.get(label) for label in labels]
    return np.array([0.5 if value is None else value for value in found], dtype=np.float64)


def at_threshold(
    probs: NDArray[np.float64], is_label: NDArray[np.bool_], threshold: float
) -> dict[str, Any]:
    """Return precision, recall and F1 of giving a label from a probability on; 0 of 0 is 0."""
    given = probs >= threshold
    hits, answers, support = int((given & is_label).sum()), int(given.sum()), int(is_label.sum())
    return {
        "precision": hits / answers if answers else 0.0,
        "precision_interval": list(wilson(hits, answers)),
        "recall": hits / support if support else 0.0,
        "f1": 2 * hits / (answers + support) if answers + support else 0.0,
        "num_given": answers,
    }


def thresholds_dict(
    test: tuple[NDArray[np.bool_], Probs],
    validation: tuple[NDArray[np.bool_], Probs] | None,
    chosen: Mapping[str, float | None],
    labels: Sequence[str],
    *,
    precision_at_least: float | None = None,
) -> dict[str, Any]:
    """Return the thresholds of every label, and what they give, in the form of `metrics.json`.

    Args:
        test: which labels examples have (N, C), and the probabilities (N, C) that are measured.
        validation: likewise, of other examples, among which a wished precision is looked for.
        chosen: label to the threshold of its largest F1, from validation examples.
        labels: C labels.
        precision_at_least: wished precision, or None.
    """
    found: dict[str, Any] = {}
    for number, label in enumerate(labels):
        probs, is_label = test[1][:, number], test[0][:, number]
        best = chosen.get(label)
        entry: dict[str, Any] = {
            "curve": _curve(probs, is_label),
            "best_f1": None
            if best is None
            else {"threshold": best, "test": at_threshold(probs, is_label, best)},
        }
        if precision_at_least is not None and validation is not None:
            candidates = recall_levels(validation[1][:, number], validation[0][:, number])
            level = choose_level(candidates, precision_at_least)
            most = max((each.promised for each in candidates), default=0.0)
            entry["precision_at_least"] = {
                "wished": precision_at_least,
                "most_promised": most,
                "threshold": None if level is None else level.threshold,
                "promised": None if level is None else level.promised,
                "test": None if level is None else at_threshold(probs, is_label, level.threshold),
            }
        found[label] = entry
    return found


def _curve(
    probs: NDArray[np.float64], is_label: NDArray[np.bool_]
) -> dict[str, list[float | None]]:
    """Return precision, recall and F1 at thresholds from 0 to 1; no answer has no precision."""
    thresholds = np.linspace(0, 1, NUM_POINTS)
    ordered = np.sort(probs)
    of_label = np.sort(probs[is_label])
    answers = len(ordered) - np.searchsorted(ordered, thresholds, side="left")
    hits = len(of_label) - np.searchsorted(of_label, thresholds, side="left")
    support = len(of_label)
    recall = hits / max(support, 1)
    f1 = 2 * hits / np.maximum(answers + support, 1)
    return {
        "threshold": [round(float(value), 6) for value in thresholds],
        "precision": [
            h / a if a else None for h, a in zip(hits.tolist(), answers.tolist(), strict=True)
        ],
        "recall": recall.tolist(),
        "f1": f1.tolist(),
    }
