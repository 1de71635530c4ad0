"""Paired comparison: two classifiers that answered the very same examples."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.intervals import (
    CONFIDENCE,
    Interval,
    drawn_counts,
    macro_f1_of_counts,
)
from lasttoken.evaluation.metrics import LabelIds


@dataclass(frozen=True)
class PairedDifference:
    """What a first classifier has over a second on the same examples.

    Attributes:
        accuracy: of the first minus of the second.
        accuracy_interval: of that difference.
        macro_f1: likewise.
        macro_f1_interval: likewise.
        only_first_right: examples that the first alone gave their true label.
        only_second_right: likewise.
        p_value: how often two equally good classifiers would differ as much or more.
    """

    accuracy: float
    accuracy_interval: Interval
    macro_f1: float
    macro_f1_interval: Interval
    only_first_right: int
    only_second_right: int
    p_value: float

    def to_dict(self) -> dict[str, object]:
        """Return the form of `metrics.json`."""
        return {
            **asdict(self),
            "accuracy_interval": list(self.accuracy_interval),
            "macro_f1_interval": list(self.macro_f1_interval),
        }


def paired_difference(
    label_ids: LabelIds,
    first_ids: LabelIds,
    second_ids: LabelIds,
    num_labels: int,
    *,
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
) -> PairedDifference:
    """Compare two classifiers that answered the same examples.

    Shapes:
        label_ids, first_ids, second_ids (N,), N at least 1.

    Source:
        Interval of the accuracies' difference: Bonett and Price (2012), Wald's after one example
        is added to each kind of disagreement. Test: McNemar's, exact. Macro F1: bootstrap.
    """
    rights = rights_difference(first_ids == label_ids, second_ids == label_ids, confidence)
    triples = (label_ids * num_labels + first_ids) * num_labels + second_ids
    cells, counts = np.unique(triples, return_counts=True)
    rest, second = np.divmod(cells, num_labels)
    true, first = np.divmod(rest, num_labels)

    def macro_f1_difference(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
        one, other = (
            macro_f1_of_counts(drawn, true, predicted, num_labels) for predicted in (first, second)
        )
        return one - other

    differences = np.concatenate([macro_f1_difference(d) for d in drawn_counts(counts, rng)])
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return PairedDifference(
        accuracy=rights.share,
        accuracy_interval=rights.interval,
        macro_f1=float(macro_f1_difference(counts[None])[0]),
        macro_f1_interval=(float(low), float(high)),
        only_first_right=rights.only_first,
        only_second_right=rights.only_second,
        p_value=rights.p_value,
    )


@dataclass(frozen=True)
class RightsDifference:
    """How much oftener a first classifier is right than a second.

    Attributes:
        share: of right answers of the first minus of the second.
        interval: of that difference.
        only_first: examples that the first alone got right.
        only_second: likewise.
        p_value: how often two equally good classifiers would differ as much or more.
    """

    share: float
    interval: Interval
    only_first: int
    only_second: int
    p_value: float


def rights_difference(
    first_right: NDArray[np.bool_], second_right: NDArray[np.bool_], confidence: float
) -> RightsDifference:
    """Compare whether two classifiers are right, (N,) each; sources as `paired_difference`."""
    from scipy.stats import binomtest, norm

    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    total = len(first_right)
    gain, loss = (only_first + 1) / (total + 2), (only_second + 1) / (total + 2)
    error = float(norm.ppf((1 + confidence) / 2)) * np.sqrt(
        (gain + loss - (gain - loss) ** 2) / (total + 2)
    )
    disagreements = only_first + only_second
    return RightsDifference(
        share=(only_first - only_second) / total,
        interval=(max(float(gain - loss - error), -1.0), min(float(gain - loss + error), 1.0)),
        only_first=only_first,
        only_second=only_second,
        p_value=float(binomtest(only_first, disagreements).pvalue) if disagreements else 1.0,
    )
