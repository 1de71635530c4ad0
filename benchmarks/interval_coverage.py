"""Do 95 % intervals hold the truth in 95 of 100 cases?

    python -m benchmarks.interval_coverage [--quick]

400,000 examples are drawn once from a known model of labels and probabilities; their scores are the
truth. Then test sets of 200 and of 2,000 of them are drawn, 2,000 times each, and their intervals
looked at. Three classifiers: two labels with calibrated probabilities, two labels (one rare) with
overconfident ones, six labels with overconfident ones; and pairs of classifiers for the paired
intervals. Processor speed plays no part: nothing here is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from benchmarks.measure import SMOKE, Results, figure
from benchmarks.options import quick_option
from lasttoken.evaluation.calibration import calibration_interval, expected_calibration_error
from lasttoken.evaluation.curves import area_intervals
from lasttoken.evaluation.intervals import score_intervals
from lasttoken.evaluation.metrics import classification_metrics
from lasttoken.evaluation.paired import paired_difference

POPULATION = 400_000
SIZES = (200, 2_000)
NAMES = (
    "accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_precision", "weighted_f1",
    "mcc", "log_loss", "brier",
)  # fmt: skip

# name: labels, spread of logits, how much too sharp the probabilities are, shift of each logit
CLASSIFIERS: dict[str, tuple[int, float, float, tuple[float, ...]]] = {
    "two labels, calibrated": (2, 2.5, 1.0, (0.0, 0.0)),
    "two labels, one of 15 %, overconfident": (2, 2.0, 1.6, (2.6, 0.0)),
    "six labels, overconfident": (6, 3.0, 1.5, (0.0,) * 6),
}


class _Population:
    """Many examples of one classifier, and a second classifier's answers to them."""

    def __init__(
        self, num_labels: int, spread: float, sharper: float, shift: tuple[float, ...], seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        logits = spread * rng.normal(size=(POPULATION, num_labels)) + np.array(shift)
        truth = softmax(logits, axis=1)
        drawn = rng.random((POPULATION, 1))
        self.ids = (truth.cumsum(axis=1)[:, :-1] < drawn).sum(axis=1)
        self.probs = softmax(sharper * logits, axis=1)
        noisier = logits + rng.normal(size=logits.shape)
        self.second_ids = noisier.argmax(axis=1)
        self.labels = [str(number) for number in range(num_labels)]


def _scores(
    ids: NDArray[np.int64],
    probs: NDArray[np.float64],
    second: NDArray[np.int64],
    labels: list[str],
) -> dict[str, float]:
    """Return every score that has an interval."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    metrics = classification_metrics(ids, probs, labels)
    others = classification_metrics(ids, np.eye(len(labels))[second], labels)
    last = metrics.per_label[-1]
    return {
        **{name: getattr(metrics, name) for name in NAMES},
        "precision of the last label": last.precision,
        "recall of the last label": last.recall,
        "F1 of the last label": last.f1,
        "ROC area of the last label": float(roc_auc_score(ids == len(labels) - 1, probs[:, -1])),
        "PR area of the last label": float(
            average_precision_score(ids == len(labels) - 1, probs[:, -1])
        ),
        "ece": expected_calibration_error(ids, probs),
        "paired accuracy": metrics.accuracy - others.accuracy,
        "paired macro F1": metrics.macro_f1 - others.macro_f1,
    }


def _intervals(
    ids: NDArray[np.int64],
    probs: NDArray[np.float64],
    second: NDArray[np.int64],
    labels: list[str],
    rng: np.random.Generator,
) -> dict[str, tuple[float, float]]:
    found = score_intervals(ids, probs, rng=rng)
    last = found.per_label[-1]
    is_last = ids == len(labels) - 1
    areas = area_intervals(is_last, probs[:, -1], rng=rng)
    pair = paired_difference(ids, probs.argmax(axis=1), second, len(labels), rng=rng)
    return {
        **{name: found.scores[name] for name in NAMES},
        "precision of the last label": last["precision"],
        "recall of the last label": last["recall"],
        "F1 of the last label": last["f1"],
        "ROC area of the last label": tuple(areas["roc_auc_interval"]),
        "PR area of the last label": tuple(areas["average_precision_interval"]),
        "ece": calibration_interval(ids, probs, rng=rng),
        "paired accuracy": pair.accuracy_interval,
        "paired macro F1": pair.macro_f1_interval,
    }


def main(show: Callable[[str], None] = print) -> None:
    """Draw test sets, and count how often the truth lies in the interval."""
    quick = quick_option(__doc__)
    results = Results("interval_coverage", quick=quick)
    repeats = 20 if SMOKE else 200 if quick else 2_000
    for number, (name, (num_labels, spread, sharper, shift)) in enumerate(CLASSIFIERS.items()):
        population = _Population(num_labels, spread, sharper, shift, seed=number)
        truth = _scores(population.ids, population.probs, population.second_ids, population.labels)
        for size in SIZES:
            row = f"{name}, {size:,} test examples"
            if results.has(row):
                continue
            rng = np.random.default_rng(100 * number + size)
            held: dict[str, int] = dict.fromkeys(truth, 0)
            for _ in range(repeats):
                rows = rng.integers(POPULATION, size=size)
                found = _intervals(
                    population.ids[rows],
                    population.probs[rows],
                    population.second_ids[rows],
                    population.labels,
                    rng,
                )
                for key, (low, high) in found.items():
                    held[key] += low <= truth[key] <= high
            figures: dict[str, Any] = {
                f"{row}: {key}, percent held": figure([100 * count / repeats], unit="%")
                for key, count in held.items()
            }
            results.add(row, {"truth": truth, "repeats": repeats}, figures)
            shown = ", ".join(f"{key} {100 * count / repeats:.1f}" for key, count in held.items())
            show(f"{row}: {shown}")
    results.save()


if __name__ == "__main__":
    main()
