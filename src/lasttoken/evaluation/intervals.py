"""Intervals: how far a score on so few examples may lie from the score on all there are.

Every interval is of 95 %. Shares of counted examples get Wilson's; everything else is bootstrapped
over examples: drawn again with replacement, and scored.
Scores that depend on counts alone (F1, MCC) are bootstrapped by drawing counts, which is the same
and does not grow with the number of examples.
Which form each has was chosen by how often it holds the truth (benchmarks/interval_coverage).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.metrics import LabelIds, Probs, brier_scores, log_losses

Interval = tuple[float, float]

CONFIDENCE = 0.95
RESAMPLES = 1_000  # the ends of the middle 95 % then rest on 25 draws each
_LEAST = 1e-4  # distance from 0 and 1 that a score keeps in logits
_ALMOST = 1e-12  # distance from 1 and -1 that a correlation keeps in Fisher's z
_MOST_NUMBERS = 4_000_000  # drawn at a time: 32 MB


def wilson(successes: int, total: int) -> Interval:
    """Return the interval of a share of counted examples; (0, 1) of none.

    Source:
        Wilson (1927), by `scipy.stats`; keeps its level where shares are near 0 or 1 and counts
        are small (Brown, Cai and DasGupta 2001).
    """
    if total == 0:
        return (0.0, 1.0)
    from scipy.stats import binomtest

    found = binomtest(successes, total).proportion_ci(CONFIDENCE, method="wilson")
    return (float(found.low), float(found.high))


def middle(values: NDArray[np.float64]) -> Interval | None:
    """Return the middle 95 % of bootstrapped scores (R,), as Efron's percentile interval.

    Values that are not finite (a score that some draws do not have) are left out. None where no
    two values differ: too few examples, or all alike, to tell how far others may lie.
    """
    finite = values[np.isfinite(values)]
    if len(finite) == 0 or finite.min() == finite.max():
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return (float(low), float(high))


def around(exact: float, drawn: NDArray[np.float64], count: int) -> Interval:
    """Return the interval around a score from 0 to 1 whose scatter draws have shown.

    A score near 1 cannot scatter upwards, so the interval is that of a normal distribution of
    logits. Draws that are not finite (a score that some draws do not have) are left out.

    Args:
        exact: the score.
        drawn: (R,) the same score of examples drawn again.
        count: examples behind it. Where no mistake was seen, or nothing right, draws cannot show
            any either: then as little is known as of a share of so many.

    Source:
        Efron and Tibshirani (1993), chapter 12: intervals after a transformation. Of six averages
        in three simulated tasks of 200 examples it held the truth in 95.0 to 96.4 of 100 cases,
        the middle 95 % of the draws in 91.3 to 94.6.
    """
    from scipy.special import expit, logit
    from scipy.stats import norm

    inside = np.clip(drawn[np.isfinite(drawn)], _LEAST, 1 - _LEAST)
    spread = float(logit(inside).std()) if len(inside) else 0.0
    if exact <= 0 or exact >= 1 or spread < 1e-12:
        low, high = wilson(round(exact * count), count)
    else:
        center = float(logit(np.clip(exact, _LEAST, 1 - _LEAST)))
        reach = float(norm.ppf((1 + CONFIDENCE) / 2)) * spread
        low, high = float(expit(center - reach)), float(expit(center + reach))
    return (min(low, exact), max(high, exact))


def fisher_z(correlations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return correlations in Fisher's z, whose scatter is about that of a normal distribution."""
    return np.arctanh(np.clip(correlations, _ALMOST - 1, 1 - _ALMOST))


def correlation_interval(correlation: float, spread: float) -> Interval:
    """Return the interval of a correlation whose Fisher's z has this standard deviation."""
    from scipy.stats import norm

    center = float(fisher_z(np.array([correlation]))[0])
    reach = float(norm.ppf((1 + CONFIDENCE) / 2)) * spread
    return (float(np.tanh(center - reach)), float(np.tanh(center + reach)))


def spearman_interval(correlation: float | None, count: int) -> Interval | None:
    """Return the interval of a rank correlation of `count` examples; None of fewer than 4.

    Source:
        Bonett and Wright (2000): Fisher's z with variance (1 + r^2 / 2) / (N - 3).
    """
    if correlation is None or count < 4:
        return None
    return correlation_interval(correlation, float(np.sqrt((1 + correlation**2 / 2) / (count - 3))))


def drawn_counts(
    counts: NDArray[np.int64], rng: np.random.Generator, resamples: int = RESAMPLES
) -> Iterator[NDArray[np.int64]]:
    """Yield counts of cells as drawing their examples again would give them, (r, M) at a time.

    Args:
        counts: (M,) examples of each cell; cells without any may be left out.
        rng: draws.
        resamples: rows in all.
    """
    total = int(counts.sum())
    rows = max(1, _MOST_NUMBERS // len(counts))
    for start in range(0, resamples, rows):
        yield rng.multinomial(total, counts / total, size=min(rows, resamples - start))


def drawn_means(
    values: NDArray[np.float64], rng: np.random.Generator, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Return the means of values (N, K) over examples that are drawn again, (R, K)."""
    num_examples = len(values)
    rows = max(1, _MOST_NUMBERS // (num_examples * values.shape[1]))
    means = []
    for start in range(0, resamples, rows):
        size = (min(rows, resamples - start), num_examples)
        means.append(values[rng.integers(num_examples, size=size)].mean(axis=1))
    return np.concatenate(means)


@dataclass(frozen=True)
class ScoreIntervals:
    """The intervals of `ClassificationMetrics`.

    Attributes:
        scores: by the names of `ClassificationMetrics.to_dict`; None where nothing can be told.
        per_label: likewise, of each label, in label order.
    """

    scores: dict[str, Interval | None]
    per_label: tuple[dict[str, Interval], ...]


def score_intervals(
    label_ids: LabelIds, probs: Probs, *, rng: np.random.Generator
) -> ScoreIntervals:
    """Return the intervals of every score of one classifier.

    Accuracy, precision and recall are shares of counted examples and get Wilson's interval.

    Shapes:
        label_ids (N,), N at least 1; probs (N, C).
    """
    num_labels = probs.shape[1]
    predicted_ids = probs.argmax(axis=1)
    cells, counts = np.unique(label_ids * num_labels + predicted_ids, return_counts=True)
    true, predicted = np.divmod(cells, num_labels)  # (M,) each: the cells that hold examples
    drawn: dict[str, list[NDArray[np.float64]]] = {}
    for draw in drawn_counts(counts, rng):
        for name, values in scores_of_counts(draw, true, predicted, num_labels).items():
            drawn.setdefault(name, []).append(values)
    bootstrapped = {name: np.concatenate(parts) for name, parts in drawn.items()}
    means = drawn_means(
        np.stack([log_losses(label_ids, probs), brier_scores(label_ids, probs)], axis=1), rng
    )
    hits = np.bincount(label_ids[label_ids == predicted_ids], minlength=num_labels)
    support = np.bincount(label_ids, minlength=num_labels)
    answers = np.bincount(predicted_ids, minlength=num_labels)
    accuracy = wilson(int(hits.sum()), len(label_ids))
    micro = dict.fromkeys(("micro_precision", "micro_recall", "micro_f1"), accuracy)
    exact = scores_of_counts(counts[None], true, predicted, num_labels)
    # A macro average weighs the rarest label like the others: it is known no better than that one.
    known = int(support[support > 0].min()) * int((support > 0).sum())
    averages = {
        name: around(float(exact[name][0]), values, known)
        for name, values in bootstrapped.items()
        if name not in ("mcc", "f1")
    }
    low, high = around((1 + float(exact["mcc"][0])) / 2, (1 + bootstrapped["mcc"]) / 2, known)
    averages["mcc"] = (2 * low - 1, 2 * high - 1)
    return ScoreIntervals(
        scores={
            "accuracy": accuracy,
            **averages,
            **micro,
            "weighted_recall": accuracy,
            "log_loss": middle(means[:, 0]),
            "brier": middle(means[:, 1]),
        },
        per_label=tuple(
            {
                "precision": wilson(int(hits[label]), int(answers[label])),
                "recall": wilson(int(hits[label]), int(support[label])),
                "f1": around(
                    float(exact["f1"][0, label]), bootstrapped["f1"][:, label], int(support[label])
                ),
            }
            for label in range(num_labels)
        ),
    )


def scores_of_counts(
    counts: NDArray[np.int64],
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    num_labels: int,
) -> dict[str, NDArray[np.float64]]:
    """Score many confusion matrices at once.

    Args:
        counts: (R, M) examples of each cell in each matrix.
        true: (M,) true label ids of the cells.
        predicted: (M,) predicted label ids of the cells.
        num_labels: C.

    Returns:
        name to (R,), and "f1" to (R, C); 0 where scikit-learn says 0 with `zero_division=0`.

    Source:
        MCC of many labels: Gorodkin (2004), as `sklearn.metrics.matthews_corrcoef`; tested equal.
    """
    hits, rows, columns = _margins(counts, true, predicted, num_labels)
    total = counts.sum(axis=1).astype(np.float64)  # (R,)
    precision, recall = hits / np.maximum(columns, 1), hits / np.maximum(rows, 1)
    f1 = 2 * hits / np.maximum(rows + columns, 1)
    weights = rows / total[:, None]
    covariance = hits.sum(axis=1) * total - (rows * columns).sum(axis=1)
    spread = (total**2 - (rows**2).sum(axis=1)) * (total**2 - (columns**2).sum(axis=1))
    return {
        "macro_precision": precision.mean(axis=1),
        "macro_recall": recall.mean(axis=1),
        "macro_f1": f1.mean(axis=1),
        "weighted_precision": (precision * weights).sum(axis=1),
        "weighted_f1": (f1 * weights).sum(axis=1),
        "mcc": np.where(spread > 0, covariance / np.sqrt(np.maximum(spread, 1)), 0.0),
        "f1": f1,
    }


def macro_f1_of_counts(
    counts: NDArray[np.int64],
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    num_labels: int,
) -> NDArray[np.float64]:
    """Return the macro F1 of many confusion matrices (R,); as `scores_of_counts`."""
    hits, rows, columns = _margins(counts, true, predicted, num_labels)
    return np.asarray((2 * hits / np.maximum(rows + columns, 1)).mean(axis=1))


def _margins(
    counts: NDArray[np.int64],
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    num_labels: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return right, true and predicted examples of each label, (R, C) each."""
    from scipy.sparse import csr_array

    def summed(cells: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
        shape = (len(cells), num_labels)
        into = csr_array((np.ones(len(cells)), (np.arange(len(cells)), labels)), shape=shape)
        return np.asarray(counts[:, cells] @ into)

    every, hit = np.arange(len(true)), np.flatnonzero(true == predicted)
    return summed(hit, true[hit]), summed(every, true), summed(every, predicted)
