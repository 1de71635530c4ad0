"""What a task does with logits, in numpy: the same as `data.labels.LabelSpec` does in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.written import LabelKind

THRESHOLD = 0.5  # from which probability on a label of a set is given, where none was fitted

_Floats = NDArray[np.float32]


def probs_of(kind: LabelKind, logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities (N, C) of logits (N, C), computed in fp32; of a regression the numbers.

    Rows sum to 1 but for multi-label, whose labels stand alone.
    """
    return _ACTIVATION[kind](logits.astype(np.float32)).astype(np.float64)


def decide(
    kind: LabelKind, probs: NDArray[np.float64], thresholds: Sequence[float | None]
) -> NDArray[Any]:
    """Return decisions about probabilities (N, C).

    Args:
        kind: of the task.
        probs: from `probs_of`.
        thresholds: of each of C labels, None where none was fitted; for multi-label only.

    Returns:
        (N,) int64 label ids, the most probable, the first of equals; multi-label (N, C) bool, True
        from the threshold on (0.5 where None); regression (N,) numbers.
    """
    return _DECISION[kind](probs, thresholds)


def _softmax(logits: _Floats) -> _Floats:
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


def _sigmoid(logits: _Floats) -> _Floats:
    exp = np.exp(-np.abs(logits))  # of large numbers it would overflow
    return np.asarray(np.where(logits >= 0, 1 / (1 + exp), exp / (1 + exp)))


def _numbers(logits: _Floats) -> _Floats:
    return logits


def _most_probable(probs: NDArray[np.float64], thresholds: Sequence[float | None]) -> NDArray[Any]:
    return np.asarray(probs.argmax(axis=1))


def _from_threshold_on(
    probs: NDArray[np.float64], thresholds: Sequence[float | None]
) -> NDArray[Any]:
    return probs >= np.array([THRESHOLD if least is None else least for least in thresholds])


def _number(probs: NDArray[np.float64], thresholds: Sequence[float | None]) -> NDArray[Any]:
    return probs[:, 0]


_ACTIVATION: dict[LabelKind, Callable[[_Floats], _Floats]] = {
    "single_label": _softmax,
    "multi_label": _sigmoid,
    "ordinal": _softmax,
    "regression": _numbers,
}
_DECISION: dict[
    LabelKind, Callable[[NDArray[np.float64], Sequence[float | None]], NDArray[Any]]
] = {
    "single_label": _most_probable,
    "multi_label": _from_threshold_on,
    "ordinal": _most_probable,
    "regression": _number,
}
