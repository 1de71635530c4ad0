"""Calibration of label sets: of the labels given a probability of 0.8, are 80 % true?

    logits / temperature -> sigmoid -> probabilities

Looked at over all N x C pairs of example and label together.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.calibration import (
    NUM_BINS,
    best_temperature,
    bin_numbers,
    bins_of,
)
from lasttoken.evaluation.intervals import Interval, drawn_counts, drawn_means, middle
from lasttoken.evaluation.metrics import Probs
from lasttoken.evaluation.multi_label.metrics import Sets, set_brier_scores, set_log_losses

_PERFECT_DRAWS = 200  # of truth; the test of perfect calibration looks at their upper 5 %


def fit_set_temperature(logits: NDArray[np.float32], targets: Sets) -> float:
    """Return the temperature that makes the probabilities of label sets fit best.

    Shapes:
        logits (N, C), not fitted on these examples; targets (N, C). Without an example: 1.

    Source:
        As `calibration.fit_temperature`, with binary cross-entropy over all pairs of example and
        label. Targets are smoothed as Platt (1999) does: (P + 1) / (P + 2) for the P true pairs,
        1 / (Q + 2) for the Q others.
    """
    if len(targets) == 0:
        return 1.0
    wide = logits.astype(np.float64)
    true = int(targets.sum())
    smoothed = np.where(targets, (true + 1) / (true + 2), 1 / (targets.size - true + 2))
    wanted = float((smoothed * wide).mean())

    def cross_entropy(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float(np.logaddexp(0.0, wide * inverse).mean() - wanted * inverse)

    return best_temperature(cross_entropy)


def set_calibration_error(targets: Sets, probs: Probs) -> float:
    """Return the mean distance of probability and share of true labels, over all pairs, 0 to 1.

    Source:
        As `calibration.expected_calibration_error`, of the N x C pairs; equal to torchmetrics'
        `binary_calibration_error(n_bins=15, norm="l1")` of them, tested.
    """
    return float(np.abs(_gaps(targets, probs).sum(axis=0)).sum() / targets.size)


def set_calibration_interval(targets: Sets, probs: Probs, *, rng: np.random.Generator) -> Interval:
    """Return the interval of `set_calibration_error`; see `calibration.calibration_interval`.

    Examples are drawn again, not pairs: the labels of one example hang together.
    """
    gaps = _gaps(targets, probs)  # (N, 15)
    found = float(np.abs(gaps.sum(axis=0)).sum()) / targets.size
    each_once = np.ones(len(gaps), dtype=np.int64)
    drawn = [np.abs(draw @ gaps).sum(axis=1) for draw in drawn_counts(each_once, rng)]
    low, high = np.quantile(np.concatenate(drawn) / targets.size, [0.01, 0.99])
    flat = probs.ravel()
    bin_of = bin_numbers(flat)
    perfect = np.empty(_PERFECT_DRAWS)
    for number in range(_PERFECT_DRAWS):
        chance = (rng.random(len(flat)) < flat) - flat
        perfect[number] = np.abs(np.bincount(bin_of, weights=chance, minlength=NUM_BINS)).sum()
    is_perfect = found <= np.quantile(perfect / targets.size, 0.95)
    lower = 0.0 if is_perfect else max(0.0, float(2 * found - high))
    return (lower, min(1.0, max(lower, float(2 * found - low))))


def set_calibration_dict(
    targets: Sets, probs: Probs, *, rng: np.random.Generator
) -> dict[str, Any]:
    """Return log loss, Brier score, calibration error and bins in the form of `metrics.json`."""
    brier = set_brier_scores(targets, probs)
    interval = middle(drawn_means(brier[:, None], rng)[:, 0])
    return {
        "ece": set_calibration_error(targets, probs),
        "ece_interval": list(set_calibration_interval(targets, probs, rng=rng)),
        "brier": float(brier.mean()),
        "brier_interval": None if interval is None else list(interval),
        "log_loss": float(set_log_losses(targets, probs).mean()),
        "bins": [
            {**asdict(each), "accuracy_interval": list(each.accuracy_interval)}
            for each in bins_of(probs.ravel(), targets.ravel().astype(np.float64))
        ],
    }


def _gaps(targets: Sets, probs: Probs) -> NDArray[np.float64]:
    """Return truth minus probability, summed in each example's ranges, (N, 15)."""
    rows = np.repeat(np.arange(len(targets)), targets.shape[1])
    places = rows * NUM_BINS + bin_numbers(probs.ravel())
    gap = (targets - probs).ravel()
    size = len(targets) * NUM_BINS
    sums = np.bincount(places, weights=gap, minlength=size).astype(np.float64)
    return sums.reshape(-1, NUM_BINS)
