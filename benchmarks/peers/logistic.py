"""Logistic regression whose penalty is chosen by cross-validation on training examples.

One for single labels, one a label for sets of labels. Folds are stratified whatever the counts;
the penalty is chosen by log loss, which tells candidates apart where few examples are held out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # scikit-learn's C
_FOLDS, _FOLDS_OF_SETS = 5, 3  # one regression a label takes as many times longer

Probs = NDArray[np.float64]  # (N, C)


def fit_logistic(
    features: Any,  # noqa: ANN401 - (N, H), dense or sparse
    truth: NDArray[np.bool_],
    *,
    task: str,
    seed: int,
) -> tuple[Callable[[Any], Probs], float]:
    """Choose the penalty and fit; returns a function to probabilities, and C.

    Shapes:
        truth (N, C): which labels an example has.
    """
    from lasttoken.evaluation.folds import deal_into_folds

    rng = np.random.default_rng(seed)
    # A set of labels is dealt by its rarest one.
    rarest = np.where(truth, truth.sum(axis=0), len(truth) + 1).argmin(axis=1)
    folds = min(_FOLDS if task == "single-label" else _FOLDS_OF_SETS, len(truth))
    fold_of = deal_into_folds(rarest, folds, rng)
    losses = dict.fromkeys(STRENGTHS, 0.0)
    for strength in STRENGTHS:
        for fold in range(folds):
            inside, outside = fold_of != fold, fold_of == fold
            probs = _fitted(features[inside], truth[inside], strength, task)(features[outside])
            losses[strength] += _log_loss(probs, truth[outside], task)
    best = min(losses, key=lambda strength: (losses[strength], strength))
    return _fitted(features, truth, best, task), best


def _fitted(
    features: Any,  # noqa: ANN401
    truth: NDArray[np.bool_],
    strength: float,
    task: str,
) -> Callable[[Any], Probs]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    model = LogisticRegression(C=strength, max_iter=1000)
    if task == "multi-label":
        every = OneVsRestClassifier(model)
        with warnings.catch_warnings():  # a fold may hold no example of a rare label
            warnings.filterwarnings("ignore", message="Label .* is present in all training")
            warnings.filterwarnings("ignore", message="Label not .* is present in all training")
            every.fit(features, truth.astype(int))
        return lambda others: np.asarray(every.predict_proba(others))
    model.fit(features, truth.argmax(axis=1))

    def probs(others: Any) -> Probs:  # noqa: ANN401
        found = np.zeros((others.shape[0], truth.shape[1]))
        found[:, model.classes_] = model.predict_proba(others)
        return found

    return probs


def _log_loss(probs: Probs, truth: NDArray[np.bool_], task: str) -> float:
    """Return the loss summed over examples."""
    kept = np.clip(probs, 1e-6, 1 - 1e-6)
    if task == "multi-label":
        return float(-np.where(truth, np.log(kept), np.log(1 - kept)).sum())
    return float(-np.log(kept[truth]).sum())
