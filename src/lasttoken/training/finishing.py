"""The last pass over validation examples, of what no epoch made: fitted heads, merged weights."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lasttoken.events import EventCallback
from lasttoken.inference.prediction import budget_batches
from lasttoken.model.lora import Adapters
from lasttoken.training.batches import in_order, validation_batches
from lasttoken.training.cache import Collate
from lasttoken.training.loop import validation
from lasttoken.training.passes import PassResult
from lasttoken.training.preparation import PreparedTraining
from lasttoken.training.reduction import FittedHead, head_row
from lasttoken.training.state import Extent, FitResult
from lasttoken.training.world import World


def finish_head(
    prepared: PreparedTraining,
    extent: Extent,
    head: FittedHead,
    collate: Collate,
    world: World,
    on_event: EventCallback,
) -> FitResult:
    """Validate a model whose head was fitted, not trained: one row of history, no step."""
    started = time.perf_counter()
    validated, logits = _validate(prepared, collate, world, on_event)
    row = head_row(prepared, head, validated, time.perf_counter() - started)
    on_event(row)
    return FitResult(
        extent=extent,
        history=(row,),
        kept_epoch=1,
        validation_logits=logits,
        num_steps=0,
        stopped_early=False,
        estimated_seconds=None,
        seconds_at_estimate=None,
    )


def merge_adapters(
    prepared: PreparedTraining,
    adapters: Adapters,
    result: FitResult,
    collate: Collate,
    world: World,
    on_event: EventCallback,
) -> FitResult:
    """Merge adapters into the weights, and validate what came of it: the model that is saved."""
    adapter = adapters.merge()
    _, logits = _validate(prepared, collate, world, on_event)
    return replace(result, adapter=adapter, validation_logits=logits)


def _validate(
    prepared: PreparedTraining, collate: Collate, world: World, on_event: EventCallback
) -> tuple[PassResult, NDArray[np.float32]]:
    """Return the validation of the model as it is, and its logits (N, C) in the examples' order."""
    settings = prepared.settings
    order = budget_batches(prepared.validating.texts.lengths)
    validated = validation(
        prepared.loaded.classifier,
        validation_batches(prepared.validating, collate, order, world),
        settings.device,
        precision=settings.precision,
        world=world,
        on_event=on_event,
    )
    return validated, in_order(validated, order, world)
