"""Ordinal labels: how many places the given label lies from the true one.

    low < mid < high        low taken for mid: 1 place off; low taken for high: 2

An ordinal task is scored as any task of single labels, and by these on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.baseline import BaselineResult, Scores
from lasttoken.evaluation.evaluate import evaluation_dict
from lasttoken.evaluation.intervals import (
    CONFIDENCE,
    Interval,
    drawn_counts,
    middle,
    spearman_interval,
    wilson,
)
from lasttoken.evaluation.metrics import LabelIds, Probs
from lasttoken.evaluation.scored import ScoredExamples


def ordinal_scores(label_ids: LabelIds, predicted_ids: LabelIds, num_labels: int) -> dict[str, Any]:
    """Return how far off answers are, in the form of `metrics.json`.

    "mae" is the mean distance in places; "within_one" the share at most one place off;
    "quadratic_weighted_kappa" the agreement above chance where a mistake costs its squared
    distance, 1 at best and 0 by chance; "spearman" the correlation of ranks; the last two are
    None where either the true or all given labels are one and the same. "distances" counts
    examples by distance.

    Shapes:
        label_ids, predicted_ids (N,), N at least 1: places in the labels' order.

    Source:
        `sklearn.metrics.cohen_kappa_score(weights="quadratic")`, `scipy.stats.spearmanr`.
    """
    from scipy.stats import spearmanr
    from sklearn.metrics import cohen_kappa_score

    distance = np.abs(predicted_ids - label_ids)
    both_vary = bool(np.ptp(label_ids) > 0 and np.ptp(predicted_ids) > 0)
    every_id = np.arange(num_labels)
    return {
        "mae": float(distance.mean()),
        "within_one": float((distance <= 1).mean()),
        "quadratic_weighted_kappa": float(
            cohen_kappa_score(label_ids, predicted_ids, labels=every_id, weights="quadratic")
        )
        if both_vary
        else None,
        "spearman": float(spearmanr(label_ids, predicted_ids).statistic) if both_vary else None,
        "distances": [
            {"places": places, "examples": count, "share": count / len(distance)}
            for places, count in enumerate(np.bincount(distance, minlength=num_labels).tolist())
        ],
    }


def ordinal_intervals(
    label_ids: LabelIds, predicted_ids: LabelIds, num_labels: int, *, rng: np.random.Generator
) -> dict[str, Interval | None]:
    """Return the intervals of `ordinal_scores`; None where nothing can be told.

    Source:
        Bootstrap over examples, the middle 95 %; within one place Wilson's; Spearman's
        correlation `intervals.spearman_interval`.
    """
    exact = ordinal_scores(label_ids, predicted_ids, num_labels)
    cells, counts = np.unique(label_ids * num_labels + predicted_ids, return_counts=True)
    true, predicted = np.divmod(cells, num_labels)
    drawn = [_of_counts(draw, true, predicted) for draw in drawn_counts(counts, rng)]
    mae, kappa = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    near = sum(entry["examples"] for entry in exact["distances"][:2])
    return {
        "mae": middle(mae),
        "within_one": wilson(near, len(label_ids)),
        "quadratic_weighted_kappa": None
        if exact["quadratic_weighted_kappa"] is None
        else middle(kappa),
        "spearman": spearman_interval(exact["spearman"], len(label_ids)),
    }


def ordinal_difference(
    label_ids: LabelIds,
    first_ids: LabelIds,
    second_ids: LabelIds,
    *,
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """Return the mean distance of a first classifier minus a second's, and its interval.

    Below 0 the first is better. Bootstrap over examples, both scored on the same draws.
    """
    gap = np.abs(first_ids - label_ids) - np.abs(second_ids - label_ids)  # (N,) whole numbers
    values, counts = np.unique(gap, return_counts=True)
    drawn = [draw @ values / len(gap) for draw in drawn_counts(counts, rng)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return {"mae": float(gap.mean()), "mae_interval": [float(low), float(high)]}


def ordinal_evaluation_dict(
    test: ScoredExamples,
    *,
    labels: Sequence[str],
    validation: tuple[LabelIds, Probs] | None,
    baselines: Sequence[BaselineResult[Scores]],
    seed: int,
    **more: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Measure all that is measured of single labels, and how far off answers are.

    Args:
        test: as `evaluate.evaluation_dict`, like all others.
        labels: C labels in their order.
        validation: see there.
        baselines: see there.
        seed: of the bootstraps.
        more: see there.
    """
    metrics = evaluation_dict(
        test, labels=labels, validation=validation, baselines=baselines, seed=seed, **more
    )
    rng = np.random.default_rng(seed)
    label_ids, predicted_ids = test.targets, test.probs.argmax(axis=1)
    add_ordinal_scores(metrics["test"], label_ids, predicted_ids, len(labels), rng)
    if validation is not None:
        metrics["validation"] |= ordinal_scores(
            validation[0], validation[1].argmax(axis=1), len(labels)
        )
    for each in baselines:
        if each.answers is not None:
            entry = metrics["baselines"][each.name]
            entry |= ordinal_scores(label_ids, each.answers, len(labels))
            entry["difference"] |= ordinal_difference(
                label_ids, predicted_ids, each.answers, rng=rng
            )
    return {**metrics, "task": "ordinal"}


def add_ordinal_scores(
    scores: dict[str, Any],
    label_ids: LabelIds,
    predicted_ids: LabelIds,
    num_labels: int,
    rng: np.random.Generator,
) -> None:
    """Add `ordinal_scores` and their intervals to scores in the form of `metrics.json`."""
    scores |= ordinal_scores(label_ids, predicted_ids, num_labels)
    scores["intervals"] |= {
        name: None if ends is None else list(ends)
        for name, ends in ordinal_intervals(label_ids, predicted_ids, num_labels, rng=rng).items()
    }


def _of_counts(
    counts: NDArray[np.int64], true: LabelIds, predicted: LabelIds
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean distance and quadratic weighted kappa of many sets of examples, (R,) each.

    Args:
        counts: (R, M) examples of each cell.
        true: (M,) places of the cells.
        predicted: (M,) likewise.

    Source:
        Disagreement expected by chance of squared distances: mean (i - j)^2 over independent i and
        j = variance of i + variance of j + squared difference of their means; tested equal.
    """
    shares = counts / counts.sum(axis=1, keepdims=True)
    apart = predicted - true
    mean_true, mean_predicted = shares @ true, shares @ predicted
    expected = (shares @ true**2) + (shares @ predicted**2) - 2 * mean_true * mean_predicted
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa = np.where(expected > 0, 1 - (shares @ apart**2) / expected, np.nan)
    return shares @ np.abs(apart), kappa
