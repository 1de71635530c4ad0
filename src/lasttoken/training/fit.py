"""The loop over epochs: train, validate, keep the best.

Everything that changes, beside weights and optimizer, is one `TrainState`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from lasttoken.errors import ConfigError
from lasttoken.evaluation.metrics import macro_f1
from lasttoken.events import EpochEnd, EventCallback, Note, ignore
from lasttoken.inference.prediction import budget_batches
from lasttoken.model.batch import FILLER_TOKEN, Gpt2ClassificationCollator
from lasttoken.model.classifier import Classifier
from lasttoken.model.device import keep_freed_memory
from lasttoken.model.embedding import seen_tokens_only
from lasttoken.training.cache import Collate, TrainingInputs, frozen_inputs
from lasttoken.training.loop import PassResult, plain_accelerator, train, validation
from lasttoken.training.optim import make_optimizer, make_schedule, rate_at
from lasttoken.training.preparation import PreparedTraining
from lasttoken.training.reduction import (
    FittedHead,
    describe_extent,
    head_row,
    measure_extent,
    settle_depth,
)
from lasttoken.training.sampler import EpochSampler, TokenizedExamples
from lasttoken.training.starting_head import start_head
from lasttoken.training.state import Extent, FitResult, FitSettings, TrainState
from lasttoken.training.timing import TimeEstimator


def fit(
    prepared: PreparedTraining,
    *,
    tokens_after: int = 0,
    on_event: EventCallback = ignore,
) -> FitResult:
    """Train for several epochs and keep the one with the best validation macro F1.

    With `trainable="probe"` there are no epochs: the head is fitted.

    Args:
        prepared: its classifier is trained in place, and holds the best epoch's weights afterwards.
        tokens_after: of gradient-free passes that the caller makes afterwards, for the estimate.
        on_event: hears progress, an `EpochEnd` an epoch, and one `TimeLeft`.

    Raises:
        ConfigError: several processes were launched, which this version does not support; or the
            disk has no room any more for what frozen blocks give.
    """
    keep_freed_memory()
    accelerator = plain_accelerator()
    if accelerator.num_processes > 1:
        raise ConfigError(
            f"launched in {accelerator.num_processes} processes",
            expected="one process",
            remedy="run lasttoken train without accelerate launch or torchrun",
        )
    classifier = prepared.loaded.classifier.to(prepared.settings.device)
    table, head = settle_depth(prepared, on_event)
    extent = measure_extent(prepared, table)
    on_event(Note(describe_extent(extent)))
    collator = Gpt2ClassificationCollator(
        prepared.loaded.tokenizer,
        classifier.labels,
        prepared.max_length,
        layout="packed",
        prompt=prepared.training.texts.prompt,
    )
    if head is not None:
        return _finish_head(prepared, extent, head, collator, on_event)
    with frozen_inputs(prepared, collator, on_event) as inputs, _seen_tokens(prepared):
        start_head(prepared, inputs, on_event)
        return _fit(prepared, extent, inputs, accelerator, tokens_after, on_event)


def _fit(
    prepared: PreparedTraining,
    extent: Extent,
    inputs: TrainingInputs,
    accelerator: Accelerator,
    tokens_after: int,
    on_event: EventCallback,
) -> FitResult:
    settings, classifier = prepared.settings, prepared.loaded.classifier
    training, validating = inputs.training, inputs.validating
    validation_order = budget_batches(validating.texts.lengths)
    validation_batches = _batches(validating, validation_order, inputs.collate)
    steps_per_epoch = num_steps_per_epoch(len(training), settings)
    raw_optimizer = make_optimizer(
        classifier, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
    )
    scheduler = make_schedule(
        raw_optimizer,
        num_steps=steps_per_epoch * settings.num_epochs,
        warmup_fraction=settings.warmup_fraction,
    )
    model, optimizer = accelerator.prepare(classifier, raw_optimizer)
    estimator = TimeEstimator(
        train_tokens=int(training.texts.lengths.sum()),
        num_epochs=settings.num_epochs,
        forward_tokens=int(validating.texts.lengths.sum()) * settings.num_epochs
        # A step and a validation pass compute the trained blocks; what comes later, all of them.
        + tokens_after * extent.depth // (settings.learns.num_blocks or extent.depth),
        steps_per_epoch=steps_per_epoch,
        on_event=on_event,
    )
    state = TrainState()
    while state.epoch < settings.num_epochs:
        started = time.perf_counter()
        trained = train(
            model,
            _epoch_batches(training, inputs.collate, settings, state.epoch),
            optimizer,
            scheduler,
            settings.device,
            gradient_accumulation_steps=settings.gradient_accumulation_steps,
            max_grad_norm=settings.max_grad_norm,
            precision=settings.precision,
            seed=settings.seed,
            epoch=state.epoch,
            accelerator=accelerator,
            on_event=estimator,
        )
        validated = validation(
            model,
            validation_batches,
            settings.device,
            precision=settings.precision,
            on_event=on_event,
        )
        estimator.finish_validation(int(validating.texts.lengths.sum()))
        row = EpochEnd(
            epoch=state.epoch + 1,
            step=state.step + steps_per_epoch,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            validation_loss=validated.loss,
            validation_accuracy=validated.accuracy,
            validation_macro_f1=_macro_f1(validated, classifier),
            learning_rate=rate_at(scheduler, state.step + steps_per_epoch - 1),
            seconds=time.perf_counter() - started,
            is_best=False,
        )
        logits = _in_order(validated, validation_order)
        on_event(_end_epoch(state, row, logits, classifier, settings))
        if state.should_stop(settings.early_stopping_patience):
            break
    if state.best_weights is not None and state.best_epoch < state.epoch:
        classifier.load_state_dict(state.best_weights)
    classifier.eval()
    return FitResult(
        extent=extent,
        history=tuple(state.history),
        best_epoch=state.best_epoch,
        validation_logits=state.best_logits,
        num_steps=state.step,
        stopped_early=state.epoch < settings.num_epochs,
        estimated_seconds=estimator.estimated_seconds,
        seconds_at_estimate=estimator.seconds_at_estimate,
    )


def _seen_tokens(prepared: PreparedTraining) -> AbstractContextManager[None]:
    """Train the embeddings of tokens that occur; with weight decay all, since every row decays."""
    if prepared.settings.weight_decay > 0:
        return nullcontext()
    texts = (prepared.training.texts.token_ids, prepared.validating.texts.token_ids)
    token_ids = np.concatenate([*texts, [FILLER_TOKEN]])
    return seen_tokens_only(prepared.loaded.classifier.hf_model, token_ids)


def num_steps_per_epoch(num_examples: int, settings: FitSettings) -> int:
    """Return the optimizer steps of one epoch; the last of each kind may be smaller."""
    num_batches = -(-num_examples // settings.batch_size)
    return -(-num_batches // settings.gradient_accumulation_steps)


def _finish_head(
    prepared: PreparedTraining,
    extent: Extent,
    head: FittedHead,
    collator: Gpt2ClassificationCollator,
    on_event: EventCallback,
) -> FitResult:
    """Validate a model whose head was fitted, not trained: one row of history, no step."""
    settings, classifier = prepared.settings, prepared.loaded.classifier
    started = time.perf_counter()
    order = budget_batches(prepared.validating.texts.lengths)
    validated = validation(
        classifier,
        _batches(prepared.validating, order, collator),
        settings.device,
        precision=settings.precision,
        on_event=on_event,
    )
    row = head_row(prepared, head, validated, time.perf_counter() - started)
    on_event(row)
    return FitResult(
        extent=extent,
        history=(row,),
        best_epoch=1,
        validation_logits=_in_order(validated, order),
        num_steps=0,
        stopped_early=False,
        estimated_seconds=None,
        seconds_at_estimate=None,
    )


def _epoch_batches(
    training: TokenizedExamples, collate: Collate, settings: FitSettings, epoch: int
) -> DataLoader[dict[str, torch.Tensor]]:
    order = EpochSampler(len(training), settings.batch_size, seed=settings.seed, epoch=epoch)
    return _batches(training, order, collate)


def _batches(
    examples: TokenizedExamples, order: Iterable[Any], collate: Collate
) -> DataLoader[dict[str, torch.Tensor]]:
    return DataLoader(
        examples,
        batch_sampler=order,
        collate_fn=collate,
        generator=torch.Generator(),  # without one, the loader draws from the global generator
    )


def _in_order(result: PassResult, order: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
    """Return a pass's logits (N, C) in the order of its examples."""
    logits = np.empty(result.logits.shape, dtype=np.float32)
    logits[np.concatenate(order)] = result.logits.numpy()
    return logits


def _macro_f1(result: PassResult, classifier: Classifier) -> float:
    num_labels = classifier.labels.num_logits
    return macro_f1(np.array(result.true_labels), np.array(result.predicted_labels), num_labels)


def _end_epoch(
    state: TrainState,
    row: EpochEnd,
    logits: NDArray[np.float32],
    classifier: Classifier,
    settings: FitSettings,
) -> EpochEnd:
    """Note a finished epoch in the state and copy its weights aside if it is the best so far."""
    row = replace(row, is_best=row.validation_macro_f1 > state.best_metric)
    state.epoch, state.step = row.epoch, row.step
    state.history.append(row)
    if row.is_best:
        state.best_epoch, state.best_metric = row.epoch, row.validation_macro_f1
        state.best_logits, state.best_weights = logits, None
        if row.epoch < settings.num_epochs:  # the last epoch cannot be overwritten
            state.best_weights = {
                name: tensor.detach().cpu().clone()
                for name, tensor in classifier.state_dict().items()
            }
    return row
