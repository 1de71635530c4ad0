"""After training: what validation examples tell about acting on the model's scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.labels import LabelSpec
from lasttoken.data.written import LabelKind
from lasttoken.evaluation.decisions import Decisions, fit_decisions, fit_set_decisions
from lasttoken.training.preparation import PreparedTraining
from lasttoken.training.state import FitResult

# A threshold stands this much, relatively, below the probability that it was found at: that very
# example shall have the label still when the head, divided by the temperature, rounds otherwise.
_ROUNDING = 1e-5


def calibrate(prepared: PreparedTraining, result: FitResult) -> FitResult:
    """Fit temperature and thresholds, and put the temperature into the head.

    The head stays a plain linear one, so that other programs give the same probabilities. That of
    a regression is multiplied by the scale of its targets, and gives numbers in their own unit.
    """
    classifier = prepared.loaded.classifier
    labels = classifier.labels
    targets = labels.encode(prepared.validating.labels).numpy()
    decisions = _FIT[labels.kind](result.validation_logits, targets, labels)
    divisor = decisions.temperature / labels.scale
    classifier.divide_logits(divisor)
    classifier.labels = replace(labels, scale=1.0)
    logits = result.validation_logits / divisor
    return replace(result, validation_logits=logits.astype("float32"), decisions=decisions)


def _of_ids(logits: NDArray[np.float32], targets: NDArray[np.int64], spec: LabelSpec) -> Decisions:
    return fit_decisions(logits, targets, spec.labels)


def _of_sets(
    logits: NDArray[np.float32], targets: NDArray[np.float32], spec: LabelSpec
) -> Decisions:
    found = fit_set_decisions(logits, targets > 0, spec.labels)
    thresholds = {
        label: None if value is None else value * (1 - _ROUNDING)
        for label, value in found.thresholds.items()
    }
    return replace(found, thresholds=thresholds)


def _of_numbers(
    logits: NDArray[np.float32], targets: NDArray[np.float32], spec: LabelSpec
) -> Decisions:
    return Decisions()  # a number has no probability to calibrate


_FIT: dict[LabelKind, Callable[..., Decisions]] = {
    "single_label": _of_ids,
    "multi_label": _of_sets,
    "ordinal": _of_ids,
    "regression": _of_numbers,
}
