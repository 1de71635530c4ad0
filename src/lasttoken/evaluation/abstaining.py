"""Abstaining: leave the texts to a person that the classifier is least sure of.

    sorted by confidence   0.99  0.98  0.97 ... 0.71 | 0.70 ... 0.51
                           answered, 97 % right      | left to a person
                                     coverage = share answered

The same question is a precision: of the texts whose probability of one label is above a threshold,
how many have it?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_LEVELS = 20  # coverages that may be chosen among: 5 %, 10 % ... 100 %
RISK = 0.05  # how often the promise may be broken, over all levels together


@dataclass(frozen=True)
class Level:
    """What one threshold gives on validation examples.

    Attributes:
        threshold: smallest confidence that is still answered.
        num_answered: examples at or above it.
        num_right: of these, how many are answered rightly.
        coverage: share of all examples that is answered.
        promised: accuracy that all texts answered have, with 95 % confidence whichever level is
            chosen; see `promised_share`.
    """

    threshold: float
    num_answered: int
    num_right: int
    coverage: float
    promised: float


def coverage_levels(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Level, ...]:
    """Return what answering 5 %, 10 % ... 100 % of the texts gives, strictest threshold first.

    Shapes:
        confidence (N,); right (N,).
    """
    wanted = np.ceil(np.arange(1, NUM_LEVELS + 1) * len(right) / NUM_LEVELS).astype(np.int64)
    return _levels(confidence, right, np.unique(wanted[wanted > 0]) - 1)


def recall_levels(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Level, ...]:
    """Return what finding 5 %, 10 % ... 100 % of the right ones gives, strictest threshold first.

    Shapes:
        confidence (N,); right (N,).
    """
    hits = np.cumsum(right[np.argsort(-confidence, kind="stable")])
    total = int(right.sum())
    wanted = np.ceil(np.arange(1, NUM_LEVELS + 1) * total / NUM_LEVELS).astype(np.int64)
    return _levels(confidence, right, np.searchsorted(hits, np.unique(wanted[wanted > 0])))


def _levels(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], places: NDArray[np.int64]
) -> tuple[Level, ...]:
    """Return the levels whose last answered example has these places by confidence."""
    order = np.argsort(-confidence, kind="stable")
    ordered, hits = confidence[order], np.cumsum(right[order])
    found: list[Level] = []
    for place in places.tolist():
        threshold = float(ordered[place])
        num_answered = int(np.searchsorted(-ordered, -threshold, side="right"))  # ties too
        num_right = int(hits[num_answered - 1])
        if not found or threshold < found[-1].threshold:
            promised = promised_share(num_right, num_answered)
            share = num_answered / len(ordered)
            found.append(Level(threshold, num_answered, num_right, share, promised))
    return tuple(found)


def promised_share(num_right: int, num_answered: int) -> float:
    """Return the lower confidence bound of a share, one of 20 that are looked at together.

    Source:
        Clopper and Pearson (1934), one-sided, at 5 % / 20 (Bonferroni): whichever level is chosen
        afterwards, the promise is broken in at most 5 % of all validation sets. The form is that
        of Angelopoulos et al., "Learn then test" (2021). That the same examples chose the epoch is
        not counted: simulated with ten independent epochs, 7 % of validation sets break it.
    """
    from scipy.stats import beta

    if num_right == 0:
        return 0.0
    low = beta.ppf(RISK / NUM_LEVELS, num_right, num_answered - num_right + 1)
    return float(low)


def choose_level(found: Sequence[Level], wished: float) -> Level | None:
    """Return the level that answers most texts among those that promise the wished share."""
    enough = [level for level in found if level.promised >= wished]
    return max(enough, key=lambda level: level.num_answered) if enough else None
