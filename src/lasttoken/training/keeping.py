"""Which weights are kept: those of the best epoch, or those that training started from."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lasttoken.events import EpochEnd, EventCallback, Note
from lasttoken.model.classifier import Classifier
from lasttoken.training.choosing import pass_scores
from lasttoken.training.passes import PassResult, PassSoFar
from lasttoken.training.resume import trained_weights
from lasttoken.training.state import FitSettings, TrainState

# Below so many training examples, epochs must be as good on validation examples as the fitted head
# that they start from: with a handful a label they can spoil more than they teach. It costs a
# pass over the validation examples and a copy of the weights.
LITTLE_DATA = 1_000


def keep_start(
    state: TrainState,
    validated: PassResult,
    logits: NDArray[np.float32],
    classifier: Classifier,
    on_event: EventCallback,
) -> None:
    """Let the model as it is before the first step compete with what epochs make of it.

    Args:
        state: before the first step.
        validated: a pass over the validation examples.
        logits: of it, (M, C), in the order of the examples.
        classifier: as it starts.
        on_event: hears the score.
    """
    scores = pass_scores(validated, classifier.labels)
    loss = validated.loss * classifier.labels.loss_unit
    score, shown = -loss, f"loss {loss:.4g}"
    if scores.macro_f1 is not None:
        score, shown = scores.macro_f1, f"macro F1 {scores.macro_f1:.3f}"
    # Of equals, what was trained: a tie on few validation examples says nothing against it.
    state.best_metric, state.best_logits = math.nextafter(score, -math.inf), logits
    state.best_weights = weights_aside(classifier)
    head: Any = classifier.hf_model.score
    state.starting_head = head.weight.detach().cpu().clone()
    on_event(Note(f"before the first step, validation {shown}: kept if no epoch is as good"))


def end_epoch(
    state: TrainState,
    row: EpochEnd,
    logits: NDArray[np.float32],
    classifier: Classifier,
    settings: FitSettings,
) -> EpochEnd:
    """Note a finished epoch in the state and copy its weights aside if it is the best so far."""
    row = replace(row, is_best=row.score > state.best_metric)
    state.epoch, state.step = row.epoch, row.step
    state.history.append(row)
    state.so_far, state.epoch_started = PassSoFar(), time.perf_counter()
    if row.is_best:
        state.best_epoch, state.best_metric = row.epoch, row.score
        state.best_logits, state.best_weights, state.starting_head = logits, None, None
        if row.epoch < settings.num_epochs:  # the last epoch cannot be overwritten
            state.best_weights = weights_aside(classifier)
    return row


def weights_aside(classifier: Classifier) -> Mapping[str, Tensor]:
    """Return a copy of what training changes, on the CPU."""
    return {name: weight.cpu().clone() for name, weight in trained_weights(classifier).items()}
