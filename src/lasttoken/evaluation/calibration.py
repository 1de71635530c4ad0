"""Calibration: of the examples answered with 80 % probability, are 80 % right?

    logits / temperature -> softmax -> probabilities

One number, fitted on validation examples, is all that changes: it never changes a predicted label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.intervals import (
    RESAMPLES,
    Interval,
    drawn_means,
    middle,
    wilson,
)
from lasttoken.evaluation.metrics import LabelIds, Probs, brier_scores, log_losses

NUM_BINS = 15  # of equal width. Source: Guo et al. 2017, whose number is the field's habit
TEMPERATURES = (0.05, 20.0)  # outside of it, something else is wrong than calibration


def fit_temperature(logits: NDArray[np.float32], label_ids: LabelIds) -> float:
    """Return the temperature that makes the probabilities of labeled examples fit best.

    Shapes:
        logits (N, C), not fitted on these examples; label_ids (N,). Without an example: 1.

    Source:
        Temperature scaling: Guo et al., "On calibration of modern neural networks" (2017). Targets
        are smoothed by one example in N + 2 as Platt (1999) does for his sigmoid: where every
        answer is right, the plain fit would make each probability 1.
    """
    if len(label_ids) == 0:
        return 1.0
    from scipy.special import logsumexp

    wide = logits.astype(np.float64)
    num_examples, num_labels = wide.shape
    smoothed = 1.0 / (num_examples + 2)
    true = wide[np.arange(num_examples), label_ids]
    others = (wide.sum(axis=1) - true) / (num_labels - 1)
    wanted = float(((1 - smoothed) * true + smoothed * others).mean())

    def cross_entropy(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float(logsumexp(wide * inverse, axis=1).mean() - wanted * inverse)

    return best_temperature(cross_entropy)


def best_temperature(loss: Callable[[float], float]) -> float:
    """Return the temperature of the smallest loss; `loss` takes its logarithm.

    The loss must be convex in 1 / temperature: then it has a single minimum in the logarithm too.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded", options={"xatol": 1e-6}
    )
    return float(np.exp(found.x))


@dataclass(frozen=True)
class ReliabilityBin:
    """The examples whose probability of the predicted label lies in one range.

    Attributes:
        low: of the range, exclusive but for 0.
        high: inclusive.
        num_examples: in the range.
        confidence: their mean probability of the predicted label; None of no example.
        accuracy: their share whose predicted label is the true one; None of no example.
        accuracy_interval: of it.
    """

    low: float
    high: float
    num_examples: int
    confidence: float | None
    accuracy: float | None
    accuracy_interval: Interval


def reliability_bins(label_ids: LabelIds, probs: Probs) -> tuple[ReliabilityBin, ...]:
    """Return accuracy beside confidence in 15 ranges of equal width."""
    return bins_of(*_answers(label_ids, probs))


def bins_of(
    confidence: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[ReliabilityBin, ...]:
    """Return how many are right beside how many should be; (K,) probabilities, and 0 or 1."""
    bin_of = bin_numbers(confidence)
    bins = []
    for number in range(NUM_BINS):
        here = bin_of == number
        count, hits = int(here.sum()), int(right[here].sum())
        bins.append(
            ReliabilityBin(
                low=number / NUM_BINS,
                high=(number + 1) / NUM_BINS,
                num_examples=count,
                confidence=float(confidence[here].mean()) if count else None,
                accuracy=hits / count if count else None,
                accuracy_interval=wilson(hits, count),
            )
        )
    return tuple(bins)


def expected_calibration_error(label_ids: LabelIds, probs: Probs) -> float:
    """Return the mean distance of accuracy and confidence, weighted by examples, 0 to 1.

    On few examples it is too large: chance alone keeps accuracy and confidence apart.

    Source:
        Naeini et al. 2015, of the predicted label, 15 ranges of equal width; equal to
        torchmetrics' `multiclass_calibration_error(n_bins=15, norm="l1")`, tested.
    """
    confidence, right = _answers(label_ids, probs)
    bin_of = bin_numbers(confidence)
    gaps = np.bincount(bin_of, weights=right - confidence, minlength=NUM_BINS)
    return float(np.abs(gaps).sum() / len(label_ids))


def calibration_interval(
    label_ids: LabelIds, probs: Probs, *, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Interval:
    """Return the interval of `expected_calibration_error`, which leaves its bias out.

    The lower end is 0 unless a perfectly calibrated model would show so large an error in fewer
    than 1 of 20 draws of these examples.

    Source:
        Bootstrap drawn again has the estimate's bias once more, so the ends are reflected at the
        estimate ("basic" bootstrap, Davison and Hinkley 1997, section 5.2). The test of perfect
        calibration draws truth from the probabilities: Broecker and Smith (2007). Absolute
        gaps scatter more than their draws do: with the ends of the middle 95 % of draws the truth
        was held in 88 to 94 of 100 simulated test sets, with those of the middle 98 % in 94 to 97.
    """
    confidence, right = _answers(label_ids, probs)
    bin_of = bin_numbers(confidence)
    num_examples = len(label_ids)
    gap = right - confidence
    found = np.abs(np.bincount(bin_of, weights=gap, minlength=NUM_BINS)).sum() / num_examples
    drawn, perfect = np.empty(resamples), np.empty(resamples)
    for number in range(resamples):
        again = rng.integers(num_examples, size=num_examples)
        sums = np.bincount(bin_of[again], weights=gap[again], minlength=NUM_BINS)
        drawn[number] = np.abs(sums).sum()
        chance = (rng.random(num_examples) < confidence) - confidence
        perfect[number] = np.abs(np.bincount(bin_of, weights=chance, minlength=NUM_BINS)).sum()
    low, high = np.quantile(drawn / num_examples, [0.01, 0.99])
    is_perfect = found <= np.quantile(perfect / num_examples, 0.95)
    lower = 0.0 if is_perfect else max(0.0, float(2 * found - high))
    return (lower, min(1.0, max(lower, float(2 * found - low))))


def calibration_dict(
    label_ids: LabelIds, probs: Probs, *, rng: np.random.Generator
) -> dict[str, Any]:
    """Return log loss, Brier score, calibration error and bins in the form of `metrics.json`."""
    brier = brier_scores(label_ids, probs)
    interval = middle(drawn_means(brier[:, None], rng)[:, 0])
    return {
        "ece": expected_calibration_error(label_ids, probs),
        "ece_interval": list(calibration_interval(label_ids, probs, rng=rng)),
        "brier": float(brier.mean()),
        "brier_interval": None if interval is None else list(interval),
        "log_loss": float(log_losses(label_ids, probs).mean()),
        "bins": [
            {**asdict(each), "accuracy_interval": list(each.accuracy_interval)}
            for each in reliability_bins(label_ids, probs)
        ],
    }


def bin_numbers(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the range of each probability (K,)."""
    edges = np.linspace(0, 1, NUM_BINS + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, NUM_BINS - 1)


def _answers(label_ids: LabelIds, probs: Probs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return confidence (N,), and rightness (N,) as 0 or 1."""
    right = probs.argmax(axis=1) == label_ids
    return probs.max(axis=1).astype(np.float64), right.astype(np.float64)
