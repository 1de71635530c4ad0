"""After training: what validation examples tell about acting on the model's scores."""

from __future__ import annotations

from dataclasses import replace

from lasttoken.evaluation.decisions import fit_decisions
from lasttoken.training.preparation import PreparedTraining
from lasttoken.training.starting_head import label_ids
from lasttoken.training.state import FitResult


def calibrate(prepared: PreparedTraining, result: FitResult) -> FitResult:
    """Fit temperature and thresholds, and put the temperature into the head.

    The head stays a plain linear one, so that other programs give the same probabilities.
    """
    classifier = prepared.loaded.classifier
    _, validation_ids = label_ids(prepared)
    decisions = fit_decisions(result.validation_logits, validation_ids, classifier.labels.labels)
    classifier.divide_logits(decisions.temperature)
    logits = result.validation_logits / decisions.temperature
    return replace(result, validation_logits=logits.astype("float32"), decisions=decisions)
