"""The loop over epochs: train, validate, keep an epoch.

Everything that changes, beside weights and optimizer, is one `TrainState`.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial

from accelerate import Accelerator

from lasttoken.events import EpochEnd, Event, EventCallback, Note, Resumed, ignore
from lasttoken.inference.prediction import budget_batches
from lasttoken.model.batch import Gpt2ClassificationCollator
from lasttoken.model.device import keep_freed_memory
from lasttoken.training.batches import (
    epoch_batches,
    in_order,
    num_steps_per_epoch,
    validation_batches,
)
from lasttoken.training.cache import TrainingInputs
from lasttoken.training.checkpoint import Checkpoint
from lasttoken.training.choosing import pass_scores
from lasttoken.training.finishing import finish_head, merge_adapters
from lasttoken.training.keeping import LITTLE_DATA, end_epoch, keep_start
from lasttoken.training.learning import learning
from lasttoken.training.loop import train, validation
from lasttoken.training.optim import make_optimizer, make_schedule, rate_at
from lasttoken.training.preparation import PreparedTraining
from lasttoken.training.reduction import (
    describe_extent,
    measure_extent,
    restore_depth,
    settle_depth,
)
from lasttoken.training.resume import (
    extent_of,
    restore,
    set_trained_weights,
)
from lasttoken.training.saver import CheckpointSettings, Saver, last_checkpoint
from lasttoken.training.starting_head import start_head
from lasttoken.training.state import Extent, FitResult, TrainState
from lasttoken.training.stopping import StopRequest, stop_request
from lasttoken.training.timing import TimeEstimator
from lasttoken.training.world import World, plain_accelerator


def fit(
    prepared: PreparedTraining,
    *,
    checkpoints: CheckpointSettings | None = None,
    tokens_after: int = 0,
    on_event: EventCallback = ignore,
) -> FitResult:
    """Train for several epochs and keep one by validation; see `training.keeping`.

    With `trainable="probe"` there are no epochs, and no checkpoints: the head is fitted.

    Args:
        prepared: its classifier is trained in place, and holds the kept epoch's weights afterwards.
        checkpoints: where to save; if a checkpoint is there already, training goes on from it.
        tokens_after: of gradient-free passes that the caller makes afterwards, for the estimate.
        on_event: hears progress, `Resumed`, an `EpochEnd` an epoch, and one `TimeLeft`.

    Raises:
        ConfigError: it was launched to shard the model; or the disk has no room any more for what
            frozen blocks give.
        RunError: a checkpoint cannot be written.
        StoppedError: a signal asked to stop, and all is saved; only with `checkpoints`.
    """
    keep_freed_memory()
    accelerator = plain_accelerator(prepared.settings.device)
    accelerator.wait_for_everyone()  # the main process readies the run folder
    classifier = prepared.loaded.classifier.to(prepared.settings.device)
    begun = last_checkpoint(checkpoints, World(accelerator), on_event)
    if begun is not None:
        extent, head = extent_of(begun), None
        restore_depth(prepared, extent.depth)
    else:
        table, head = settle_depth(prepared, on_event)
        extent = measure_extent(prepared, table)
    on_event(Note(describe_extent(extent)))
    collator = Gpt2ClassificationCollator(
        prepared.loaded.tokenizer,
        classifier.labels,
        layout="packed",
        reading=prepared.reading,
    )
    if head is not None:
        return finish_head(prepared, extent, head, collator, World(accelerator), on_event)
    with learning(prepared, collator, on_event) as work:
        if begun is None:
            start_head(prepared, work.inputs, on_event)
        result = _fit(
            prepared, extent, work.inputs, accelerator, begun, checkpoints, tokens_after, on_event
        )
        if work.adapters is None:
            return result
        return merge_adapters(
            prepared, work.adapters, result, collator, World(accelerator), on_event
        )


def _fit(
    prepared: PreparedTraining,
    extent: Extent,
    inputs: TrainingInputs,
    accelerator: Accelerator,
    begun: Checkpoint | None,
    checkpoints: CheckpointSettings | None,
    tokens_after: int,
    on_event: EventCallback,
) -> FitResult:
    settings, classifier, world = prepared.settings, prepared.loaded.classifier, World(accelerator)
    training, validating = inputs.training, inputs.validating
    validation_order = budget_batches(validating.texts.lengths)
    to_validate = validation_batches(validating, inputs.collate, validation_order, world)
    validate = partial(
        validation,
        classifier,
        to_validate,
        settings.device,
        precision=settings.precision,
        world=world,
    )
    steps_per_epoch = num_steps_per_epoch(len(training), settings)
    raw_optimizer = make_optimizer(
        classifier,
        learning_rate=settings.peak_rate,
        weight_decay=settings.weight_decay,
        layer_decay=settings.layer_decay,
    )
    state = TrainState()
    if begun is not None:
        state = restore(begun, classifier, raw_optimizer, settings.device, world)
        num_steps = steps_per_epoch * settings.num_epochs
        on_event(Resumed(begun.name, state.step, num_steps, tuple(state.history)))
    elif len(training) < LITTLE_DATA:
        started = validate(on_event=on_event)
        keep_start(state, started, in_order(started, validation_order, world), classifier, on_event)
    scheduler = make_schedule(
        raw_optimizer,
        num_steps=steps_per_epoch * settings.num_epochs,
        warmup_fraction=settings.warmup_fraction,
        steps_taken=state.step,
    )
    model, optimizer = accelerator.prepare(classifier, raw_optimizer)
    validation_tokens = int(validating.texts.lengths.sum())
    estimator = TimeEstimator(
        train_tokens=int(training.texts.lengths.sum()),
        num_epochs=settings.num_epochs,
        forward_tokens=validation_tokens * (settings.num_epochs - state.epoch)
        # A step and a validation pass compute the trained blocks; what comes later, all of them.
        + tokens_after * extent.depth // (settings.learns.num_blocks or extent.depth),
        steps_per_epoch=steps_per_epoch,
        steps_taken=state.step,
        on_event=on_event,
    )
    with nullcontext(StopRequest()) if checkpoints is None else stop_request() as request:
        saver = Saver(
            checkpoints, request, world, classifier, raw_optimizer, state, extent, on_event
        )

        def end_step() -> None:
            state.step += 1
            saver.after_step()

        def end_validation_batch(event: Event) -> None:
            on_event(event)
            saver.during_validation()

        while not state.is_at_end(settings):
            trained = train(
                model,
                epoch_batches(training, inputs.collate, settings, state, world, prepared.groups),
                optimizer,
                scheduler,
                settings.device,
                gradient_accumulation_steps=settings.gradient_accumulation_steps,
                max_grad_norm=settings.max_grad_norm,
                precision=settings.precision,
                seed=settings.seed,
                epoch=state.epoch,
                accelerator=accelerator,
                so_far=state.so_far,
                after_step=end_step,
                on_event=estimator,
            )
            validated = validate(on_event=end_validation_batch)
            estimator.finish_validation(validation_tokens)
            scores = pass_scores(validated, classifier.labels)
            row = EpochEnd(
                epoch=state.epoch + 1,
                step=state.step,
                train_loss=trained.loss * classifier.labels.loss_unit,
                train_accuracy=trained.accuracy,
                validation_loss=validated.loss * classifier.labels.loss_unit,
                validation_accuracy=scores.accuracy,
                validation_macro_f1=scores.macro_f1,
                learning_rate=rate_at(scheduler, state.step - 1),
                seconds=time.perf_counter() - state.epoch_started,
                is_kept=False,
            )
            logits = in_order(validated, validation_order, world)
            row = end_epoch(state, row, scores, logits, classifier, settings)
            on_event(row)
            saver.after_epoch(is_kept=row.is_kept)
        saver.after_training()
    if state.kept_weights is not None and state.kept_epoch < state.epoch:
        set_trained_weights(classifier, state.kept_weights)
    if state.kept_epoch == 0:
        kept = "no epoch was as good as the start, which is kept"
        if not prepared.objective.is_plain or prepared.groups is not None:
            kept += ": class weights, focal loss or balanced sampling had no part in it"
        on_event(Note(kept, is_warning=True))
    classifier.eval()
    return FitResult(
        extent=extent,
        history=tuple(state.history),
        kept_epoch=state.kept_epoch,
        validation_logits=state.kept_logits,
        num_steps=state.step,
        stopped_early=state.epoch < settings.num_epochs,
        estimated_seconds=estimator.estimated_seconds,
        seconds_at_estimate=estimator.seconds_at_estimate,
    )
