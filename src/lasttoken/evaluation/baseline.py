"""Baselines: what the same examples give without any language model.

A classifier is worth its cost only above these two: always answering the commonest label, and a
linear model on word counts that trains in seconds. Neither ever sees a test label.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.metrics import (
    ClassificationMetrics,
    LabelIds,
    Probs,
    classification_metrics,
)
from lasttoken.evaluation.word_models import WordModel, answer_by_words
from lasttoken.events import EventCallback, ignore

MAJORITY = "majority"
TFIDF = "tfidf_logistic_regression"
COMMONEST_SET = "commonest_set"
MEAN = "mean"
TFIDF_RIDGE = "tfidf_ridge"
# What people are told; for the middle of a sentence.
BASELINE_NAMES = {
    TFIDF: "TF-IDF + logistic regression",
    MAJORITY: "always answering the commonest label",
    COMMONEST_SET: "always answering the commonest label set",
    TFIDF_RIDGE: "TF-IDF + ridge regression",
    MEAN: "always answering the mean",
}

# Inverse strengths of the L2 penalty that are tried: 0.3 to 30, evenly spaced in their logarithm.
C_VALUES = (0.3, 0.949, 3.0, 9.49, 30.0)


class Scores(Protocol):
    """The metrics of any kind of task."""

    def to_dict(self) -> dict[str, object]:
        """Return the form of `metrics.json`."""


Measured = TypeVar("Measured", bound=Scores, covariant=True)


@dataclass(frozen=True)
class BaselineResult(Generic[Measured]):
    """What one baseline reached.

    Attributes:
        name: a key of `BASELINE_NAMES`.
        metrics: its scores on the test examples, or None if it could not be made.
        settings: what it was made with, ready for JSON.
        seconds: wall seconds of fitting and scoring.
        reason: why `metrics` is None; None otherwise.
        answers: to the test examples, or None: label ids (M,), label sets (M, C) bool, or values
            (M,).
    """

    name: str
    metrics: Measured | None
    settings: Mapping[str, object]
    seconds: float
    reason: str | None = None
    answers: NDArray[Any] | None = None


def majority_baseline(
    train_label_ids: LabelIds, test_label_ids: LabelIds, labels: Sequence[str]
) -> BaselineResult[ClassificationMetrics]:
    """Answer every text with the training examples' commonest label.

    Its probabilities are the label shares of the training examples: the best that a constant
    answer can know, so that its log loss is a fair floor too.

    Shapes:
        train_label_ids (N,) int64; test_label_ids (M,) int64.

    Raises:
        ValueError: an id is out of range, or there is no example.
    """
    start = time.perf_counter()
    counts = np.bincount(train_label_ids, minlength=len(labels))  # (C,)
    probs = np.tile(counts / counts.sum(), (len(test_label_ids), 1))  # (M, C)
    metrics = classification_metrics(test_label_ids, probs, labels)
    settings = {"label": labels[int(counts.argmax())]}
    seconds = time.perf_counter() - start
    return BaselineResult(MAJORITY, metrics, settings, seconds, answers=probs.argmax(axis=1))


def tfidf_baseline(
    train_texts: Sequence[str],
    train_label_ids: LabelIds,
    test_texts: Sequence[str],
    test_label_ids: LabelIds,
    labels: Sequence[str],
    *,
    seed: int,
    on_event: EventCallback = ignore,
) -> BaselineResult[ClassificationMetrics]:
    """Fit TF-IDF of words and word pairs + logistic regression, and score it on the test texts.

    The strength of the penalty is chosen by cross-validation on the training examples alone, by
    accuracy, the stronger penalty of equals. Where no such model can be made, `metrics` is None
    and `reason` says why; see `word_models.answer_by_words`.

    Shapes:
        train_label_ids (N,) int64; test_label_ids (M,) int64.

    Raises:
        ValueError: texts and label ids differ in number, or a test id is out of range.
    """
    if len(train_texts) != len(train_label_ids) or len(test_texts) != len(test_label_ids):
        raise ValueError("every text needs one label id")
    start = time.perf_counter()
    num_labels = len(labels)
    found = answer_by_words(
        train_texts,
        train_label_ids,
        train_label_ids,
        [test_texts],
        model=WordModel(
            start=lambda solver_seed: _LogisticRegression(solver_seed, num_labels),
            strengths=C_VALUES,
            strength_name="C",
            quality=lambda ids, probs: float((probs.argmax(axis=1) == ids).sum()),
            can_learn=lambda ids: len(np.unique(ids)) > 1,
            cannot="the training examples have one label only",
            num_outputs=num_labels,
            num_fits=1 if num_labels == 2 else num_labels,
        ),
        seed=seed,
        on_event=on_event,
    )
    metrics, answers = None, None
    if found.outputs is not None:
        (probs,) = found.outputs
        metrics = classification_metrics(test_label_ids, probs, labels)
        answers = probs.argmax(axis=1)
    seconds = time.perf_counter() - start
    return BaselineResult(TFIDF, metrics, found.settings, seconds, found.reason, answers)


class _LogisticRegression:
    """Logistic regression of all labels together; each strength starts from the one before.

    Source:
        SAGA (Defazio et al. 2014), by measurement: the five fits of one fold of 28 labels, 3,200
        texts and 30,479 columns take 1.4 s, against 13 s with Newton-CG and 23 s with L-BFGS, at
        the same log loss.
    """

    MAX_ITER = 1000

    def __init__(self, seed: int, num_labels: int) -> None:
        from sklearn.linear_model import LogisticRegression

        self._num_labels = num_labels
        self._model = LogisticRegression(
            solver="saga", max_iter=self.MAX_ITER, warm_start=True, random_state=seed
        )

    def fit(self, features: Any, targets: LabelIds, strength: float) -> None:  # noqa: ANN401
        self._model.set_params(C=strength).fit(features, targets)

    def outputs(self, features: Any) -> Probs:  # noqa: ANN401
        probs = np.zeros((features.shape[0], self._num_labels))
        probs[:, self._model.classes_] = self._model.predict_proba(features)  # unseen ones keep 0
        return probs
