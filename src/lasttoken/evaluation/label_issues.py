"""Labels that look wrong: confident learning on probabilities that no own label had a say in.

    text                      label     probability of it  most probable
    "a joy from start to end" negative  0.02               positive 0.98   <- looks wrong
    "it is what it is"        negative  0.45               positive 0.55      too close to call

How many are listed comes from confident learning: an example is counted where another label is more
probable than that label is, on average, for the examples that carry it. Which ones are listed, and
in which order, comes from the probability of the given label, lowest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.metrics import LabelIds

# Chosen by measurement (benchmarks/label_check.py): the list is then as precise as one of equal
# length by held-out loss, being that one. Of two labels other filters' lists are at most half a
# point better; of six they are up to 17 points worse.
FILTER = "low_self_confidence"
RANKING = "self_confidence"

# Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), section 13.3: about 1,000
# resamples for the ends of a percentile interval.
RESAMPLES = 1_000


@dataclass(frozen=True)
class LabelIssue:
    """An example whose label looks wrong.

    Attributes:
        index: of the example, 0 to N - 1.
        label: that it carries.
        suggested_label: the most probable one.
        label_probability: of `label`, 0 to 1.
        suggested_probability: of `suggested_label`, 0 to 1.
    """

    index: int
    label: str
    suggested_label: str
    label_probability: float
    suggested_probability: float


@dataclass(frozen=True)
class LabelIssues:
    """What the labels of N examples look like, all together.

    Attributes:
        issues: the most suspicious first.
        noise_rate: estimated share of wrong labels, 0 to 1; not the length of the list.
        noise_rate_interval: 95 %, over which examples there happen to be. The probabilities are
            taken as they are: what another fit would change, and that a classifier which errs
            often takes its own errors for wrong labels, is not in it.
        num_examples: N.
    """

    issues: tuple[LabelIssue, ...]
    noise_rate: float
    noise_rate_interval: tuple[float, float]
    num_examples: int


def find_label_issues(
    label_ids: LabelIds, probs: NDArray[np.float64], labels: Sequence[str], *, seed: int
) -> LabelIssues:
    """List the examples whose labels look wrong, and estimate how many labels are.

    Args:
        label_ids: (N,) int64, as given; a label may be absent.
        probs: (N, C) float64, rows summing to 1, each by a classifier that was fitted without that
            example.
        labels: C names.
        seed: of the resamples.

    Returns:
        Nothing listed, and a rate of 0, where all examples carry one label: there is nothing to
        compare it with.

    Source:
        Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels"
        (arXiv 1911.00068), as in cleanlab; Efron and Tibshirani, chapter 13, for the interval.
    """
    from cleanlab import filter as cleanlab_filter

    if len(np.unique(label_ids)) < 2:
        return LabelIssues((), 0.0, (0.0, 0.0), len(label_ids))
    listed = cleanlab_filter.find_label_issues(
        label_ids, probs, filter_by=FILTER, return_indices_ranked_by=RANKING, n_jobs=1
    )
    best = probs.argmax(axis=1)
    issues = tuple(
        LabelIssue(
            index=index,
            label=labels[label_ids[index]],
            suggested_label=labels[best[index]],
            label_probability=float(probs[index, label_ids[index]]),
            suggested_probability=float(probs[index, best[index]]),
        )
        for index in listed.tolist()
        if best[index] != label_ids[index]  # improbable, and yet the most probable of many labels
    )
    rng, size = np.random.default_rng(seed), len(label_ids)
    drawn = (rng.integers(size, size=size) for _ in range(RESAMPLES))
    rates = [_noise_rate(label_ids[rows], probs[rows]) for rows in drawn]
    low, high = np.quantile(rates, [0.025, 0.975])
    return LabelIssues(issues, _noise_rate(label_ids, probs), (float(low), float(high)), size)


def _noise_rate(label_ids: LabelIds, probs: NDArray[np.float64]) -> float:
    """Return the share outside the diagonal of the joint distribution of given and true labels."""
    from cleanlab.count import estimate_joint

    joint = estimate_joint(label_ids, probs)  # (C, C), sums to 1
    return float(joint[~np.eye(len(joint), dtype=bool)].sum())
