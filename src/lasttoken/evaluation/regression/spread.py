"""How far off: ranges that hold most true values, and where predictions are too high or low."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lasttoken.evaluation.intervals import CONFIDENCE, wilson
from lasttoken.evaluation.regression.metrics import Numbers

LEVELS = (0.5, 0.8, 0.9, 0.95)  # shares of true values that a range should hold
NUM_BINS = 10  # of equally many examples, by predicted value
MOST_POINTS = 1_000  # of the plot of predicted beside true values; more cannot be told apart


def range_reach(validation_errors: Numbers, level: float) -> float | None:
    """Return the reach around a prediction that holds a share of the true values.

    None where there are too few examples to tell.

    Args:
        validation_errors: (V,) predicted minus true of examples that the weights never saw.
        level: the share, above 0 and below 1.

    Source:
        Split conformal prediction (Papadopoulos et al. 2002; Lei et al. 2018): the
        ceil((V + 1) level)-th smallest absolute error holds at least that share of further texts
        of the same kind. That the same examples chose the epoch is not counted.
    """
    place = math.ceil((len(validation_errors) + 1) * level)
    if place > len(validation_errors):
        return None
    return float(np.sort(np.abs(validation_errors))[place - 1])


def ranges_list(
    targets: Numbers, values: Numbers, validation: tuple[Numbers, Numbers] | None
) -> list[dict[str, Any]]:
    """Return ranges and the share of test values that they hold, in the form of `metrics.json`.

    Args:
        targets: (N,) true values of test examples.
        values: (N,) predicted ones.
        validation: true and predicted values of validation examples; None if there are none.
    """
    if validation is None:
        return []
    found = []
    for level in LEVELS:
        reach = range_reach(validation[1] - validation[0], level)
        held = 0 if reach is None else int((np.abs(values - targets) <= reach).sum())
        found.append(
            {
                "level": level,
                "reach": reach,
                "test": None
                if reach is None
                else {"share": held / len(targets), "interval": list(wilson(held, len(targets)))},
            }
        )
    return found


def bins_list(targets: Numbers, values: Numbers) -> list[dict[str, Any]]:
    """Return mean true beside mean predicted value, by predicted value, for `metrics.json`.

    Up to ten ranges of about equally many examples; equal predictions share one. The interval is
    Student's, of the mean true value; None of one example.
    """
    from scipy.stats import t

    edges = np.unique(np.quantile(values, np.linspace(0, 1, NUM_BINS + 1)))
    bin_of = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, max(len(edges) - 2, 0))
    found = []
    for number in np.unique(bin_of).tolist():
        here = bin_of == number
        count, mean = int(here.sum()), float(targets[here].mean())
        interval = None
        if count > 1:
            error = float(targets[here].std(ddof=1)) / math.sqrt(count)
            reach = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
            interval = [mean - reach, mean + reach]
        found.append(
            {
                "low": float(values[here].min()),
                "high": float(values[here].max()),
                "num_examples": count,
                "predicted": float(values[here].mean()),
                "true": mean,
                "true_interval": interval,
            }
        )
    return found


def points_list(targets: Numbers, values: Numbers, rng: np.random.Generator) -> list[list[float]]:
    """Return [true, predicted] of up to 1,000 examples, chosen at random, for the plot."""
    kept = np.arange(len(targets))
    if len(kept) > MOST_POINTS:
        kept = np.sort(rng.permutation(len(targets))[:MOST_POINTS])
    points: list[list[float]] = np.stack([targets[kept], values[kept]], axis=1).tolist()
    return points
