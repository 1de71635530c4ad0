"""Which weights are kept: those of one epoch, or those that training started from.

It is the latest epoch whose score on the validation examples is within one standard error of the
best:

epoch     start    1      2      3      4         32 examples: 0.70 - 0.08 is as good as 0.70
score     0.58    0.63   0.70   0.66   0.65       so the 4th is kept

The learning rate falls to 0 at the end, and a best of ten scores on few examples is mostly luck: on
16 examples a label, epochs of the highest score were 2 points worse on other examples than those
kept so (docs/log.md).
"""

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
from lasttoken.training.choosing import PassScores, pass_scores
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
    state.best_metric, state.kept_logits = score, logits
    state.kept_weights = weights_aside(classifier)
    head: Any = classifier.hf_model.score
    state.starting_head = head.weight.detach().cpu().clone()
    on_event(Note(f"before the first step, validation {shown}: kept if no epoch is as good"))


def end_epoch(
    state: TrainState,
    row: EpochEnd,
    scores: PassScores,
    logits: NDArray[np.float32],
    classifier: Classifier,
    settings: FitSettings,
) -> EpochEnd:
    """Note a finished epoch in the state and copy its weights aside if it is to be kept so far."""
    enough = state.best_metric
    if scores.effective_examples is not None and math.isfinite(enough):
        enough = one_standard_error_below(enough, scores.effective_examples)
    row = replace(row, is_kept=row.score >= enough)
    state.epoch, state.step = row.epoch, row.step
    state.history.append(row)
    state.so_far, state.epoch_started = PassSoFar(), time.perf_counter()
    state.best_metric = max(state.best_metric, row.score)
    if row.is_kept:
        state.kept_epoch = row.epoch
        state.kept_logits, state.kept_weights, state.starting_head = logits, None, None
        if row.epoch < settings.num_epochs:  # the last epoch cannot be overwritten
            state.kept_weights = weights_aside(classifier)
    return row


def one_standard_error_below(share: float, num_examples: float) -> float:
    """Return the end of the interval of one standard error around a share of examples.

    A macro F1 is taken for such a share, of as many examples as `effective_examples` says.

    Args:
        share: 0 to 1.
        num_examples: N.

    Source:
        The rule of one standard error: Breiman, Friedman, Olshen and Stone, "Classification and
        Regression Trees" (1984), section 3.4.3. The interval: Agresti and Coull, "Approximate is
        better than exact" (1998), which is not empty at a share of 1.
    """
    center = (num_examples * share + 0.5) / (num_examples + 1)
    return center - math.sqrt(center * (1 - center) / (num_examples + 1))


def weights_aside(classifier: Classifier) -> Mapping[str, Tensor]:
    """Return a copy of what training changes, on the CPU."""
    return {name: weight.cpu().clone() for name, weight in trained_weights(classifier).items()}
