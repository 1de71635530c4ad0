"""Baselines of numbers: the mean, and ridge regression on words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.baseline import MEAN, TFIDF_RIDGE, BaselineResult
from lasttoken.evaluation.metrics import LabelIds
from lasttoken.evaluation.regression.metrics import (
    Numbers,
    RegressionMetrics,
    regression_metrics,
)
from lasttoken.evaluation.word_models import WordModel, answer_by_words
from lasttoken.events import EventCallback, ignore

# Strengths of the L2 penalty that are tried, the strongest first, evenly spaced in their logarithm;
# rows of TF-IDF have length 1, so that useful ones lie around 1.
ALPHAS = (10.0, 3.16, 1.0, 0.316, 0.1)
_STRATA = 10  # ranges of values of which folds and samples keep their part


def mean_baseline(
    train_targets: Numbers, test_targets: Numbers
) -> BaselineResult[RegressionMetrics]:
    """Answer every text with the mean of the training examples' values.

    Shapes:
        train_targets (N,); test_targets (M,).

    Raises:
        ValueError: there is no example.
    """
    start = time.perf_counter()
    values = np.full(len(test_targets), train_targets.mean())
    metrics = regression_metrics(test_targets, values)
    settings = {"value": float(f"{train_targets.mean():.6g}")}
    return BaselineResult(MEAN, metrics, settings, time.perf_counter() - start, answers=values)


def ridge_baseline(
    train: tuple[Sequence[str], Numbers],
    test: tuple[Sequence[str], Numbers],
    *,
    seed: int,
    on_event: EventCallback = ignore,
) -> BaselineResult[RegressionMetrics]:
    """Fit TF-IDF + ridge regression, and score it on the test texts.

    The strength of the penalty is chosen by cross-validation on the training examples, by the
    squared error.

    Args:
        train: texts and their values, (N,).
        test: likewise, (M,).
        seed: of folds, samples and the solver.
        on_event: hears progress.

    Raises:
        ValueError: texts and values differ in number.
    """
    for texts, targets in (train, test):
        if len(texts) != len(targets):
            raise ValueError("every text needs one value")
    start = time.perf_counter()
    found = answer_by_words(
        train[0],
        train[1],
        _value_ranges(train[1]),
        [test[0]],
        model=WordModel(
            start=_Ridge,
            strengths=ALPHAS,
            strength_name="alpha",
            quality=lambda targets, values: -float(((values[:, 0] - targets) ** 2).sum()),
            can_learn=lambda targets: len(targets) > 1 and bool(np.ptp(targets) > 0),
            cannot="the training examples have one value only",
            num_outputs=1,
            num_fits=1,
        ),
        seed=seed,
        on_event=on_event,
    )
    metrics, values = None, None
    if found.outputs is not None:
        values = found.outputs[0][:, 0]
        metrics = regression_metrics(test[1], values)
    seconds = time.perf_counter() - start
    return BaselineResult(TFIDF_RIDGE, metrics, found.settings, seconds, found.reason, values)


def _value_ranges(targets: Numbers) -> LabelIds:
    """Return the range of each value (N,), ten of about equally many examples."""
    if len(targets) == 0:
        return np.zeros(0, dtype=np.int64)
    edges = np.unique(np.quantile(targets, np.linspace(0, 1, _STRATA + 1)))
    return np.searchsorted(edges, targets, side="left").astype(np.int64)


class _Ridge:
    """Ridge regression with an intercept, by conjugate gradients: exact, and quick when sparse."""

    def __init__(self, seed: int) -> None:
        from sklearn.linear_model import Ridge

        self._model = Ridge(solver="sparse_cg", random_state=seed)

    def fit(self, features: Any, targets: Numbers, strength: float) -> None:  # noqa: ANN401
        self._model.set_params(alpha=strength).fit(features, targets)

    def outputs(self, features: Any) -> NDArray[np.float64]:  # noqa: ANN401
        return np.asarray(self._model.predict(features), dtype=np.float64)[:, None]
