"""Intervals of the scores of label sets, and of the difference of two classifiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.intervals import (
    CONFIDENCE,
    Interval,
    ScoreIntervals,
    around,
    drawn_counts,
    drawn_means,
    middle,
    wilson,
)
from lasttoken.evaluation.metrics import Probs
from lasttoken.evaluation.multi_label.metrics import (
    SetCells,
    Sets,
    scores_of_set_counts,
    set_brier_scores,
    set_log_losses,
)
from lasttoken.evaluation.paired import rights_difference


def set_score_intervals(
    targets: Sets, probs: Probs, given: Sets, *, rng: np.random.Generator
) -> ScoreIntervals:
    """Return the intervals of `MultiLabelMetrics`, by its names.

    Subset accuracy, and precision and recall of a label, are shares of counted examples and get
    Wilson's interval. The other averages are bootstrapped over examples, since the labels of one
    example are not independent of each other; see `intervals.around`.

    Shapes:
        targets, given (N, C) bool, N at least 1; probs (N, C).
    """
    cells = SetCells.of(targets, given)
    drawn = [scores_of_set_counts(draw, cells) for draw in drawn_counts(cells.counts, rng)]
    exact = scores_of_set_counts(cells.counts[None], cells)
    support = targets.sum(axis=0)
    hits, num_given = (targets & given).sum(axis=0), given.sum(axis=0)
    # A macro average weighs the rarest label like the others: it is known no better than that one.
    known = int(support[support > 0].min(initial=len(targets))) * max(int((support > 0).sum()), 1)
    counted_behind = {"macro": known, "weighted": known, "micro": int(support.sum())}
    scores: dict[str, Interval | None] = {}
    for name in exact.averages:
        values = np.concatenate([each.averages[name] for each in drawn])
        behind = counted_behind.get(name.partition("_")[0], len(targets))
        scores[name] = around(float(exact.averages[name][0]), values, max(behind, 1))
    losses = [set_log_losses(targets, probs), set_brier_scores(targets, probs)]
    means = drawn_means(np.stack(losses, axis=1), rng)
    f1 = np.concatenate([each.per_label["f1"] for each in drawn])  # (R, C)
    return ScoreIntervals(
        scores={
            **scores,
            "subset_accuracy": wilson(int((targets == given).all(axis=1).sum()), len(targets)),
            "log_loss": middle(means[:, 0]),
            "brier": middle(means[:, 1]),
        },
        per_label=tuple(
            {
                "precision": wilson(int(hits[number]), int(num_given[number])),
                "recall": wilson(int(hits[number]), int(support[number])),
                "f1": around(
                    float(exact.per_label["f1"][0, number]), f1[:, number], int(support[number])
                ),
            }
            for number in range(targets.shape[1])
        ),
    )


@dataclass(frozen=True)
class SetDifference:
    """What a first classifier has over a second on the same examples.

    Attributes:
        macro_f1: of the first minus of the second. Likewise `micro_f1`, `samples_f1`.
        macro_f1_interval: of that difference. Likewise the others.
        subset_accuracy: likewise.
        subset_accuracy_interval: likewise.
        only_first_right: examples that the first alone gave exactly their true set.
        only_second_right: likewise.
        p_value: how often two classifiers of equal subset accuracy would differ as much or more.
    """

    macro_f1: float
    macro_f1_interval: Interval
    micro_f1: float
    micro_f1_interval: Interval
    samples_f1: float
    samples_f1_interval: Interval
    subset_accuracy: float
    subset_accuracy_interval: Interval
    only_first_right: int
    only_second_right: int
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """Return the form of `metrics.json`."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name in self.__dataclass_fields__
            for value in [getattr(self, name)]
        }


def set_difference(
    targets: Sets,
    first: Sets,
    second: Sets,
    *,
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
) -> SetDifference:
    """Compare two classifiers that gave label sets to the same examples.

    Shapes:
        targets, first, second (N, C) bool, N at least 1.

    Source:
        Subset accuracy: as accuracy in `paired.paired_difference`. F1: bootstrap over examples,
        both classifiers scored on the same draws.
    """
    num_labels = targets.shape[1]
    rows, counts = np.unique(np.hstack([targets, first, second]), axis=0, return_counts=True)
    true = rows[:, :num_labels]
    cells = [
        SetCells(true, rows[:, start : start + num_labels], counts)
        for start in (num_labels, 2 * num_labels)
    ]

    def differences(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
        one, other = (scores_of_set_counts(drawn, each).averages for each in cells)
        names = ("macro_f1", "micro_f1", "samples_f1")
        return np.stack([one[name] - other[name] for name in names], axis=1)  # (R, 3)

    drawn = np.concatenate([differences(draw) for draw in drawn_counts(counts, rng)])
    exact = differences(counts[None])[0]
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    ends = [(float(least), float(most)) for least, most in zip(low, high, strict=True)]
    rights = rights_difference(
        (first == targets).all(axis=1), (second == targets).all(axis=1), confidence
    )
    return SetDifference(
        macro_f1=float(exact[0]),
        macro_f1_interval=ends[0],
        micro_f1=float(exact[1]),
        micro_f1_interval=ends[1],
        samples_f1=float(exact[2]),
        samples_f1_interval=ends[2],
        subset_accuracy=rights.share,
        subset_accuracy_interval=rights.interval,
        only_first_right=rights.only_first,
        only_second_right=rights.only_second,
        p_value=rights.p_value,
    )
