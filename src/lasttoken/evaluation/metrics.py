"""Metrics: what the predictions on labeled examples are worth, as plain numbers.

Pure functions of arrays. Scores are shares from 0 to 1, log loss is in nats. A label that the
examples lack still counts in the averages: all C labels of the task are scored, always.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LabelIds = NDArray[np.int64]
Probs = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelMetrics:
    """The scores of one label.

    Attributes:
        label: the label string.
        precision: of the examples given this label, the share that truly has it.
        recall: of the examples that truly have this label, the share given it.
        f1: harmonic mean of the two.
        support: examples that truly have this label.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class ClassificationMetrics:
    """The scores of one classifier on one set of labeled examples.

    Attributes:
        accuracy: share of the examples whose most probable label is the true one. Where every
            example has one label, micro-averaged precision, recall and F1 are this same number.
        macro_precision: mean precision over all C labels, each weighing the same.
        macro_recall: likewise; also called balanced accuracy.
        macro_f1: likewise.
        weighted_precision: mean precision, each label weighing as much as it has examples.
        weighted_recall: likewise; the same number as accuracy.
        weighted_f1: likewise.
        mcc: Matthews correlation coefficient, -1 to 1; 0 is chance.
        log_loss: mean nats per example.
        brier: mean over examples of the summed squared differences of probabilities and truth, 0
            to 2.
        num_examples: N.
        per_label: C entries in label order.
        confusion_matrix: (C, C) counts; rows are true labels, columns predicted ones.
    """

    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    mcc: float
    log_loss: float
    brier: float
    num_examples: int
    per_label: tuple[LabelMetrics, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]

    @property
    def num_correct(self) -> int:
        """Return how many examples were given their true label."""
        return sum(row[index] for index, row in enumerate(self.confusion_matrix))

    def to_dict(self) -> dict[str, object]:
        """Return the form of `metrics.json`: `per_label` maps each label to its scores."""
        return {
            "accuracy": self.accuracy,
            "macro_precision": self.macro_precision,
            "macro_recall": self.macro_recall,
            "macro_f1": self.macro_f1,
            "micro_precision": self.accuracy,
            "micro_recall": self.accuracy,
            "micro_f1": self.accuracy,
            "weighted_precision": self.weighted_precision,
            "weighted_recall": self.weighted_recall,
            "weighted_f1": self.weighted_f1,
            "mcc": self.mcc,
            "log_loss": self.log_loss,
            "brier": self.brier,
            "num_examples": self.num_examples,
            "per_label": {
                entry.label: {
                    "precision": entry.precision,
                    "recall": entry.recall,
                    "f1": entry.f1,
                    "support": entry.support,
                }
                for entry in self.per_label
            },
            "confusion_matrix": [list(row) for row in self.confusion_matrix],
        }


def classification_metrics(
    label_ids: LabelIds, probs: Probs, labels: Sequence[str]
) -> ClassificationMetrics:
    """Score probabilities against true labels.

    The predicted label is the most probable one, the first of equals.

    Shapes:
        label_ids (N,) int64, N at least 1; probs (N, C), rows summing to 1; labels has C entries.

    Raises:
        ValueError: shapes disagree, there is no example, an id is outside 0..C-1, or a
            probability is not finite.

    Source:
        Precision, recall and F1: `sklearn.metrics.precision_recall_fscore_support` with
        `zero_division=0`, so that a label never predicted scores 0. Log loss: as
        `sklearn.metrics.log_loss`, which clips probabilities at the machine epsilon of their
        type, 2.2e-16 for float64, so that one certain mistake costs 36 nats and not infinity.
        Brier: the multi-class form of Brier (1950), `brier_score_loss(scale_by_half=False)`.
    """
    from sklearn.metrics import (
        confusion_matrix,
        matthews_corrcoef,
        precision_recall_fscore_support,
    )

    if probs.shape != (len(label_ids), len(labels)) or label_ids.ndim != 1:
        raise ValueError(
            f"label_ids {label_ids.shape} and probs {probs.shape} do not fit {len(labels)} labels"
        )
    if not np.isfinite(probs).all():
        raise ValueError("probs must be finite: NaN or infinity found")
    _check_ids(label_ids, len(labels))

    predicted_ids = probs.argmax(axis=1)
    every_id = np.arange(len(labels))
    precision, recall, f1, support = precision_recall_fscore_support(
        label_ids, predicted_ids, labels=every_id, zero_division=0
    )
    confusion = confusion_matrix(label_ids, predicted_ids, labels=every_id)
    return ClassificationMetrics(
        accuracy=accuracy(label_ids, predicted_ids),
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        weighted_precision=float((precision * support).sum() / len(label_ids)),
        weighted_recall=float((recall * support).sum() / len(label_ids)),
        weighted_f1=float((f1 * support).sum() / len(label_ids)),
        # Of a single label there is none; scikit-learn says 0 too, but with a warning.
        mcc=float(matthews_corrcoef(label_ids, predicted_ids))
        if len(np.union1d(label_ids, predicted_ids)) > 1
        else 0.0,
        log_loss=float(log_losses(label_ids, probs).mean()),
        brier=float(brier_scores(label_ids, probs).mean()),
        num_examples=len(label_ids),
        per_label=tuple(
            LabelMetrics(label, float(p), float(r), float(f), int(s))
            for label, p, r, f, s in zip(labels, precision, recall, f1, support, strict=True)
        ),
        confusion_matrix=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def log_losses(label_ids: LabelIds, probs: Probs) -> NDArray[np.float64]:
    """Return what each example adds to the log loss, (N,) nats; see `classification_metrics`.

    Not scikit-learn's `log_loss`: it warns about rows that sum to 1 only within fp32 rounding.
    """
    true_probs = probs[np.arange(len(label_ids)), label_ids].astype(np.float64)
    return np.asarray(-np.log(np.clip(true_probs, np.finfo(np.float64).eps, 1.0)))


def brier_scores(label_ids: LabelIds, probs: Probs) -> NDArray[np.float64]:
    """Return what each example adds to the Brier score, (N,), 0 to 2."""
    rows = np.arange(len(label_ids))
    # sum of (p - y)^2 without a second (N, C) array of ones and zeros
    return np.asarray(np.einsum("nc,nc->n", probs, probs) + 1.0 - 2.0 * probs[rows, label_ids])


def accuracy(label_ids: LabelIds, predicted_ids: LabelIds) -> float:
    """Return the share of predicted label ids (N,) that equal the true ones (N,).

    Raises:
        ValueError: there is no example.
    """
    if len(label_ids) == 0:
        raise ValueError("there is no example to score")
    return float((label_ids == predicted_ids).mean())


def macro_f1(label_ids: LabelIds, predicted_ids: LabelIds, num_labels: int) -> float:
    """Return the mean F1 over all labels of the task; quick enough for every epoch.

    A label that is neither true nor predicted anywhere scores 0.

    Shapes:
        label_ids (N,) int64; predicted_ids (N,) int64.

    Raises:
        ValueError: there is no example, or an id is outside 0..num_labels-1.

    Source:
        F1 = 2 TP / (true + predicted), which is `sklearn.metrics.f1_score(average="macro",
        labels=range(num_labels), zero_division=0)`; tested equal.
    """
    _check_ids(label_ids, num_labels)
    _check_ids(predicted_ids, num_labels)
    hits = np.bincount(label_ids[label_ids == predicted_ids], minlength=num_labels)  # (C,)
    true = np.bincount(label_ids, minlength=num_labels)
    predicted = np.bincount(predicted_ids, minlength=num_labels)
    return float((2 * hits / np.maximum(true + predicted, 1)).mean())


def as_sets(label_ids: LabelIds, num_labels: int) -> NDArray[np.bool_]:
    """Return which of all labels each example has, (N, C), of label ids (N,): one each."""
    return np.asarray(label_ids[:, None] == np.arange(num_labels))


def _check_ids(label_ids: LabelIds, num_labels: int) -> None:
    if len(label_ids) == 0:
        raise ValueError("there is no example to score")
    if label_ids.min() < 0 or label_ids.max() >= num_labels:
        raise ValueError(f"label ids must be 0 to {num_labels - 1}")
