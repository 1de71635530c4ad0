"""What a pass over validation examples is judged by: one function a kind of task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import f1_score

from lasttoken.data.labels import LabelSpec
from lasttoken.data.written import LabelKind
from lasttoken.evaluation.metrics import macro_f1
from lasttoken.evaluation.thresholds import best_f1_threshold
from lasttoken.training.passes import PassResult


@dataclass(frozen=True)
class PassScores:
    """What a pass over validation examples is judged by.

    Attributes:
        accuracy: 0 to 1, of a set: that all of it is right; None for a regression.
        macro_f1: 0 to 1, mean over labels; None for a regression. Of sets, labels are given from
            the thresholds on that are fitted on these very examples, as they will be at the end.
    """

    accuracy: float | None
    macro_f1: float | None


def pass_scores(result: PassResult, labels: LabelSpec) -> PassScores:
    """Return what a pass over validation examples is judged by."""
    return _SCORES[labels.kind](result, labels)


def _scores_of_ids(result: PassResult, labels: LabelSpec) -> PassScores:
    f1 = macro_f1(
        np.array(result.true_labels), np.array(result.predicted_labels), labels.num_logits
    )
    return PassScores(result.accuracy, f1)


def _scores_of_sets(result: PassResult, labels: LabelSpec) -> PassScores:
    targets, probs = np.array(result.true_labels) > 0, labels.probs(result.logits).double()
    columns = zip(probs.numpy().T, targets.T, strict=True)
    thresholds = [best_f1_threshold(values, is_label) for values, is_label in columns]
    given = labels.decide(probs, thresholds).numpy()
    f1 = float(f1_score(targets, given, average="macro", zero_division=0))
    return PassScores(result.accuracy, f1)


def _scores_of_numbers(result: PassResult, labels: LabelSpec) -> PassScores:
    return PassScores(None, None)


_SCORES: dict[LabelKind, Callable[[PassResult, LabelSpec], PassScores]] = {
    "single_label": _scores_of_ids,
    "multi_label": _scores_of_sets,
    "ordinal": _scores_of_ids,
    "regression": _scores_of_numbers,
}
