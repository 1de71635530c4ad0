"""What a pass over validation examples is judged by: one function a kind of task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
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
        effective_examples: how many examples a share would need to be known as well as `macro_f1`;
            None for a regression.
    """

    accuracy: float | None
    macro_f1: float | None
    effective_examples: float | None


def pass_scores(result: PassResult, labels: LabelSpec) -> PassScores:
    """Return what a pass over validation examples is judged by."""
    return _SCORES[labels.kind](result, labels)


def effective_examples(label_counts: NDArray[np.int64]) -> float:
    """Return how many examples a share would need to be known as well as a macro F1.

    That is a mean over labels, and is known no better than its rarest label lets it be:

        547 examples: 9 of the rarest of 6 labels, the others even    228
        all labels even                                               547

    Args:
        label_counts: (C,) examples of each label; one without examples has F1 0 for certain.

    Source:
        The variance of a mean of C independent shares p of n_k examples each is
        sum_k p (1 - p) / n_k / C^2; of one share it is p (1 - p) / n.
    """
    present = label_counts[label_counts > 0]
    return float(len(label_counts) ** 2 / (1 / present).sum()) if len(present) else 0.0


def _scores_of_ids(result: PassResult, labels: LabelSpec) -> PassScores:
    true_labels = np.array(result.true_labels)
    f1 = macro_f1(true_labels, np.array(result.predicted_labels), labels.num_logits)
    counts = np.bincount(true_labels, minlength=labels.num_logits)
    return PassScores(result.accuracy, f1, effective_examples(counts))


def _scores_of_sets(result: PassResult, labels: LabelSpec) -> PassScores:
    targets, probs = np.array(result.true_labels) > 0, labels.probs(result.logits).double()
    columns = zip(probs.numpy().T, targets.T, strict=True)
    thresholds = [best_f1_threshold(values, is_label) for values, is_label in columns]
    given = labels.decide(probs, thresholds).numpy()
    f1 = float(f1_score(targets, given, average="macro", zero_division=0))
    return PassScores(result.accuracy, f1, effective_examples(targets.sum(axis=0)))


def _scores_of_numbers(result: PassResult, labels: LabelSpec) -> PassScores:
    return PassScores(None, None, None)


_SCORES: dict[LabelKind, Callable[[PassResult, LabelSpec], PassScores]] = {
    "single_label": _scores_of_ids,
    "multi_label": _scores_of_sets,
    "ordinal": _scores_of_ids,
    "regression": _scores_of_numbers,
}
