"""The head that training starts from: fitted, or the model's own.

A fit on the model's states costs one pass over some examples; a random head would cost steps until
the blocks are told anything of use, and what they learn from it before is noise. With 16 examples a
label that is worth 8 points of accuracy, with 500 a third of the time (docs/log.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lasttoken.evaluation.folds import stratified_sample
from lasttoken.evaluation.metrics import LabelIds
from lasttoken.events import EventCallback, Note
from lasttoken.training.cache import TrainingInputs, pooled_states
from lasttoken.training.preparation import PreparedTraining
from lasttoken.training.probe_heads import num_table_texts
from lasttoken.training.starting_fits import fit_starting_head
from lasttoken.training.state import StartingHead

# Examples that a head of two labels is fitted on; as many more for each further label, up to those
# of the probe table. A pass over more costs time in which blocks could learn.
_NUM_TEXTS = 1_000


def starting_head(prepared: PreparedTraining) -> StartingHead:
    """Return what the head is before the first step."""
    is_kept = not prepared.loaded.head_is_new and prepared.settings.learns.kind != "probe"
    return "own" if is_kept else "fitted"


def start_head(prepared: PreparedTraining, inputs: TrainingInputs, on_event: EventCallback) -> None:
    """Fit the head that training starts from.

    `reduction.settle_depth` has done so where it chose the depth. A head that came with the model
    stays.

    Args:
        prepared: its classifier is on the device.
        inputs: of training; with cached states, only the blocks that learn are run.
        on_event: hears `Progress("head", ...)`, and that the head was fitted.
    """
    settings, classifier = prepared.settings, prepared.loaded.classifier
    if settings.keeps == "auto" or starting_head(prepared) != "fitted":
        return
    targets = classifier.labels.encode(prepared.training.labels)
    num_labels = classifier.labels.num_logits
    num_texts = min(_NUM_TEXTS * max(1, num_labels - 1), num_table_texts(num_labels))
    # Sets and numbers have no strata.
    strata = targets.numpy() if targets.dtype == torch.int64 else np.zeros(len(targets), np.int64)
    sample = stratified_sample(strata, num_texts, np.random.default_rng(settings.seed))
    states = pooled_states(inputs, sample, prepared, on_event)
    fit_head_to_start_from(prepared, states, targets[torch.from_numpy(sample)], on_event)


def fit_head_to_start_from(
    prepared: PreparedTraining,
    states: NDArray[np.float32],
    targets: Tensor,
    on_event: EventCallback,
) -> None:
    """Fit the head on states (M, H) of training examples with their targets, and tell it."""
    labels, seed = prepared.loaded.classifier.labels, prepared.settings.seed
    words = prepared.label_words
    copy_head(prepared, fit_starting_head(states, targets, labels, seed=seed, words=words))
    on_event(Note(f"the head starts from a fit on the states of {len(states):,} training examples"))


def copy_head(prepared: PreparedTraining, head: NDArray[np.float32]) -> None:
    """Write a head (C, H) into the model."""
    score: Any = prepared.loaded.classifier.hf_model.score
    with torch.no_grad():
        score.weight.copy_(torch.from_numpy(head))


def label_ids(prepared: PreparedTraining) -> tuple[LabelIds, LabelIds]:
    """Return the label ids of training (N,) and validation (M,)."""
    labels = prepared.loaded.classifier.labels
    ids = [
        labels.encode(examples.labels).numpy().astype(np.int64)
        for examples in (prepared.training, prepared.validating)
    ]
    return ids[0], ids[1]
