"""Decisions from probabilities, scores, and paired intervals: alike for every contender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.sets import MULTI, SEPARATOR

RESAMPLES = 2_000
_SEED = 123
_FOLDS = 5

Flags = NDArray[np.bool_]  # (N, C): which labels an example has, or is given
Interval = tuple[float, float]


def flags_of(written: Sequence[str], labels: Sequence[str]) -> Flags:
    """Return labels as written, such as "joy" or "anger|joy", as flags."""
    flags = np.zeros((len(written), len(labels)), dtype=bool)
    for row, label in enumerate(written):
        for part in filter(None, label.split(SEPARATOR)):
            flags[row, labels.index(part)] = True
    return flags


def fit_thresholds(probs: NDArray[np.float64], truth: Flags) -> list[float]:
    """Return each label's threshold of the largest F1 on validation examples; 0.5 without any."""
    from lasttoken.evaluation.thresholds import best_f1_threshold

    found = [best_f1_threshold(probs[:, i], truth[:, i]) for i in range(probs.shape[1])]
    return [0.5 if threshold is None else threshold for threshold in found]


def decide(probs: NDArray[np.float64], task: str, thresholds: Sequence[float] | None) -> Flags:
    """Return the labels given: the most probable one, or all that reach their thresholds."""
    if task == MULTI:
        return np.asarray(probs >= np.asarray(thresholds))
    flags = np.zeros(probs.shape, dtype=bool)
    flags[np.arange(len(probs)), probs.argmax(axis=1)] = True
    return flags


def validation_score(metric: str, task: str, probs: NDArray[np.float64], truth: Flags) -> float:
    """Return the score by which settings are chosen, among validation examples.

    Thresholds are fitted on four fifths and applied to the rest, in turn: scored on the examples
    that they were fitted on, they would favour whoever is most erratic.
    """
    given = np.zeros_like(truth)
    fold_of = np.random.default_rng(_SEED).permutation(len(truth)) % _FOLDS
    for fold in range(_FOLDS):
        inside, outside = fold_of != fold, fold_of == fold
        thresholds = fit_thresholds(probs[inside], truth[inside]) if task == MULTI else None
        given[outside] = decide(probs[outside], task, thresholds)
    return float(score(metric, truth, given)[0])


def packed(flags: Flags) -> str:
    """Return flags as text: ids of each example joined by commas, "-" for none, then spaces."""
    return " ".join(",".join(map(str, np.flatnonzero(row))) or "-" for row in flags)


def unpacked(text: str, num_labels: int) -> Flags:
    """Return what `packed` made text of."""
    words = text.split(" ")
    flags = np.zeros((len(words), num_labels), dtype=bool)
    for row, word in enumerate(words):
        if word != "-":
            flags[row, [int(part) for part in word.split(",")]] = True
    return flags


def score(
    metric: str, truth: Flags, given: Flags, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return accuracy, or the mean F1 of the labels, of weighted examples.

    Args:
        metric: "accuracy" (all labels of an example right) or "macro_f1" (0 of 0 is 0).
        truth: (N, C).
        given: (N, C).
        weights: (R, N); None counts each example once.

    Returns:
        (R,)
    """
    if weights is None:
        weights = np.ones((1, len(truth)))
    if metric == "accuracy":
        return np.asarray(weights @ (truth == given).all(axis=1) / weights.sum(axis=1))
    hits, of_truth, of_given = (
        weights @ flags.astype(np.float64) for flags in (truth & given, truth, given)
    )
    both = of_truth + of_given
    f1 = np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)
    return np.asarray(f1.mean(axis=1))


@dataclass(frozen=True)
class Difference:
    """What a first contender has over a second on a data set, means over seeds, in points.

    Attributes:
        points: 100 times the difference of the scores.
        interval: 95 %, over test examples drawn again, the same for both and for every seed.
    """

    points: float
    interval: Interval

    @property
    def is_worse(self) -> bool:
        """Return whether the first is significantly below the second."""
        return self.interval[1] < 0


def paired(
    metric: str, truth: Flags, first: Sequence[Flags], second: Sequence[Flags]
) -> Difference:
    """Compare two contenders that answered the same test examples, once a seed."""
    rng = np.random.default_rng(_SEED)
    total = len(truth)
    weights = rng.multinomial(total, np.full(total, 1 / total), size=RESAMPLES).astype(np.float64)

    def mean(runs: Sequence[Flags], drawn: NDArray[np.float64] | None) -> NDArray[np.float64]:
        return np.asarray(np.mean([score(metric, truth, given, drawn) for given in runs], axis=0))

    exact = float((mean(first, None) - mean(second, None))[0])
    low, high = np.quantile(mean(first, weights) - mean(second, weights), [0.025, 0.975])
    return Difference(100 * exact, (100 * float(low), 100 * float(high)))
