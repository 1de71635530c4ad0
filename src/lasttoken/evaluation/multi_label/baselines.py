"""Baselines of label sets: the commonest set, and a linear model on words for every label."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from lasttoken.evaluation.baseline import C_VALUES, COMMONEST_SET, TFIDF, BaselineResult
from lasttoken.evaluation.metrics import LabelIds, Probs
from lasttoken.evaluation.multi_label.metrics import (
    MultiLabelMetrics,
    Sets,
    average_precisions,
    multi_label_metrics,
)
from lasttoken.evaluation.thresholds import choose_thresholds, thresholds_array
from lasttoken.evaluation.word_models import WordModel, answer_by_words
from lasttoken.events import EventCallback, ignore


def commonest_set_baseline(
    train_targets: Sets, test_targets: Sets, labels: Sequence[str]
) -> BaselineResult[MultiLabelMetrics]:
    """Answer every text with the training examples' commonest label set, which may be empty.

    Its probabilities are the label shares of the training examples, as for single labels.

    Shapes:
        train_targets (N, C) bool; test_targets (M, C) bool.

    Raises:
        ValueError: there is no example.
    """
    start = time.perf_counter()
    sets, counts = np.unique(train_targets, axis=0, return_counts=True)
    commonest = sets[int(counts.argmax())]  # (C,)
    probs = np.tile(train_targets.mean(axis=0), (len(test_targets), 1))  # (M, C)
    # Thresholds that give just this set: at the share itself, or above every probability.
    thresholds = np.where(commonest, probs[0], 2.0)
    metrics = multi_label_metrics(test_targets, probs, thresholds, labels)
    names = [label for label, is_in in zip(labels, commonest.tolist(), strict=True) if is_in]
    seconds = time.perf_counter() - start
    return BaselineResult(
        COMMONEST_SET, metrics, {"labels": names or "none"}, seconds, answers=probs >= thresholds
    )


def set_tfidf_baseline(
    train: tuple[Sequence[str], Sets],
    validation: tuple[Sequence[str], Sets],
    test: tuple[Sequence[str], Sets],
    labels: Sequence[str],
    *,
    seed: int,
    on_event: EventCallback = ignore,
) -> BaselineResult[MultiLabelMetrics]:
    """Fit TF-IDF + a logistic regression for each label, and score it on the test texts.

    The strength of the penalty, the same for all labels, is chosen by cross-validation on the
    training examples, by the mean average precision of labels; the threshold of each label on the
    validation examples, by F1, as the model's own.

    Args:
        train: texts and which labels they have, (N, C).
        validation: likewise; may be without any example, then thresholds are 0.5.
        test: likewise, M of them.
        labels: C labels.
        seed: of folds, samples and the solver.
        on_event: hears progress.

    Raises:
        ValueError: texts and targets differ in number.
    """
    for texts, targets in (train, validation, test):
        if len(texts) != len(targets):
            raise ValueError("every text needs one label set")
    start = time.perf_counter()
    found = answer_by_words(
        train[0],
        train[1],
        rarest_labels(train[1]),
        [validation[0], test[0]],
        model=WordModel(
            start=_OneForEachLabel,
            strengths=C_VALUES,
            strength_name="C",
            quality=_summed_precision,
            can_learn=lambda targets: bool((targets.any(axis=0) & ~targets.all(axis=0)).any()),
            cannot="no label is had by some training examples and not by others",
            num_outputs=len(labels),
            num_fits=len(labels),
        ),
        seed=seed,
        on_event=on_event,
    )
    metrics, answers = None, None
    if found.outputs is not None:
        on_validation, probs = found.outputs
        chosen = choose_thresholds(validation[1], on_validation, labels)
        thresholds = thresholds_array(chosen, labels)
        metrics = multi_label_metrics(test[1], probs, thresholds, labels)
        answers = probs >= thresholds
    seconds = time.perf_counter() - start
    return BaselineResult(TFIDF, metrics, found.settings, seconds, found.reason, answers)


def rarest_labels(targets: Sets) -> LabelIds:
    """Return the rarest label that each example (N, C) has, (N,); C where it has none.

    Folds and samples that keep every part of these keep the rare labels.
    """
    num_labels = targets.shape[1]
    ranks = np.argsort(targets.sum(axis=0), kind="stable")  # (C,), the rarest first
    in_order = targets[:, ranks]
    first = in_order.argmax(axis=1)
    return np.asarray(np.where(in_order.any(axis=1), ranks[first], num_labels), dtype=np.int64)


def _summed_precision(targets: Sets, probs: Probs) -> float:
    """Return the mean average precision of labels, times the examples it was measured on."""
    known = [value for value in average_precisions(targets, probs) if value is not None]
    return float(np.mean(known)) * len(targets) if known else 0.0


class _OneForEachLabel:
    """A logistic regression for each label; one that all or no examples have is a constant.

    Source:
        Coordinate descent in the dual (`liblinear`): Yu, Huang and Lin (2011).
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._models: list[Any] = []

    def fit(self, features: Any, targets: Sets, strength: float) -> None:  # noqa: ANN401
        from sklearn.linear_model import LogisticRegression

        self._models = [
            LogisticRegression(
                solver="liblinear", dual=True, C=strength, max_iter=1000, random_state=self._seed
            ).fit(features, is_label)
            if is_label.any() and not is_label.all()
            else float(is_label.any())
            for is_label in targets.T
        ]

    def outputs(self, features: Any) -> Probs:  # noqa: ANN401
        columns = [
            np.full(features.shape[0], model)
            if isinstance(model, float)
            else model.predict_proba(features)[:, 1]
            for model in self._models
        ]
        return np.stack(columns, axis=1)
