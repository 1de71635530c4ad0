"""ROC and precision-recall curves, each label against the rest, and the areas below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.intervals import around, drawn_counts
from lasttoken.evaluation.metrics import Probs

MOST_POINTS = 100  # of a stored curve; more cannot be seen
CURVES_UP_TO = 30  # labels; of more, the commonest are stored, and none gets intervals
FEWEST = 5  # examples of a label, and of others: the interval of 1, 2, 3 held 43, 84, 92 %
_GROUPS = 500  # of neighbors by probability, for the intervals; fewer examples are their own


def ranking_dict(
    targets: NDArray[np.bool_], probs: Probs, labels: Sequence[str], *, rng: np.random.Generator
) -> dict[str, Any]:
    """Return areas, their intervals and the curves in the form of `metrics.json`.

    A label that all or no examples have gets None.

    Shapes:
        targets (N, C), which labels each example has; probs (N, C).

    Source:
        `sklearn.metrics`: `roc_auc_score`, `average_precision_score` (the area below the
        precision-recall curve as a sum of steps, without interpolation), `roc_curve`,
        `precision_recall_curve`.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    common = set(np.argsort(-targets.sum(axis=0), kind="stable")[:CURVES_UP_TO].tolist())
    per_label: dict[str, Any] = {}
    for number, label in enumerate(labels):
        is_label, score = targets[:, number], probs[:, number]
        if not is_label.any() or is_label.all():
            per_label[label] = None
            continue
        entry: dict[str, Any] = {
            "roc_auc": float(roc_auc_score(is_label, score)),
            "average_precision": float(average_precision_score(is_label, score)),
        }
        if number in common:
            entry |= {"curves": _curves(is_label, score)}
        rarest = min(int(is_label.sum()), int((~is_label).sum()))
        if len(labels) <= CURVES_UP_TO and rarest >= FEWEST:
            entry |= area_intervals(is_label, score, rng=rng)
        per_label[label] = entry
    known = [entry for entry in per_label.values() if entry is not None]
    return {
        "macro_roc_auc": _mean([entry["roc_auc"] for entry in known]),
        "macro_average_precision": _mean([entry["average_precision"] for entry in known]),
        "per_label": per_label,
    }


def area_intervals(
    is_label: NDArray[np.bool_], score: NDArray[np.float64], *, rng: np.random.Generator
) -> dict[str, Any]:
    """Return the intervals of both areas: bootstrap over examples, in up to 500 groups by score.

    Drawing a group's count is drawing its examples; that equals inside a group are told apart no
    more moves an area by less than a thousandth.

    Shapes:
        is_label (N,), of both kinds; score (N,).

    Source:
        Logit intervals of areas: Boyd, Eng and Page (2013), Pepe (2003).
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    _, group = np.unique(score, return_inverse=True)
    if group.max() >= _GROUPS:
        ranks = np.argsort(np.argsort(score, kind="stable"), kind="stable")
        group = ranks * _GROUPS // len(score)
    cells, counts = np.unique(group * 2 + is_label, return_counts=True)
    groups, kind = np.divmod(cells, 2)
    size = int(group.max()) + 1
    into = (groups[:, None] == np.arange(size)).astype(np.float64)  # (M, G)
    areas: list[NDArray[np.float64]] = []
    for drawn in drawn_counts(counts, rng):
        positive = (drawn * kind) @ into  # (r, G), ascending scores
        negative = (drawn * (1 - kind)) @ into
        areas.append(np.stack(_areas(positive, negative), axis=1))
    found = np.concatenate(areas)
    rarest = int(min(is_label.sum(), (~is_label).sum()))
    return {
        "roc_auc_interval": list(around(roc_auc_score(is_label, score), found[:, 0], rarest)),
        "average_precision_interval": list(
            around(average_precision_score(is_label, score), found[:, 1], rarest)
        ),
    }


def _areas(
    positive: NDArray[np.float64], negative: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ROC area and average precision of counts by group, NaN where a kind is missing."""
    below = np.cumsum(negative, axis=1) - negative / 2  # negatives below, equals half
    positives, negatives = positive.sum(axis=1), negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        roc_auc = (positive * below).sum(axis=1) / (positives * negatives)
        above = np.cumsum(positive[:, ::-1], axis=1)
        answers = above + np.cumsum(negative[:, ::-1], axis=1)
        precision = above / np.maximum(answers, 1)
        average = (positive[:, ::-1] * precision).sum(axis=1) / positives
    return roc_auc, average


def _curves(is_label: NDArray[np.bool_], score: NDArray[np.float64]) -> dict[str, Any]:
    from sklearn.metrics import precision_recall_curve, roc_curve

    false_positive, true_positive, _ = roc_curve(is_label, score)
    precision, recall, _ = precision_recall_curve(is_label, score)
    return {
        "roc": _thinned(false_positive, true_positive),
        "precision_recall": _thinned(recall[::-1], precision[::-1]),
    }


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[list[float]]:
    """Return points [x, y], at most 100, the first and the last among them."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(MOST_POINTS, len(x))).round().astype(np.int64))
    return [[round(float(a), 6), round(float(b), 6)] for a, b in zip(x[kept], y[kept], strict=True)]


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
