"""From a run in memory to a checkpoint, and back.

A resumed run continues bit for bit because all that lies between two steps is here: weights,
moments, the place in the epoch, its results so far, the kept epoch. Order and dropout are functions
of (seed, epoch, batch), the rate is one of the step, and what frozen blocks give is computed anew.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lasttoken.events import EpochEnd
from lasttoken.training.checkpoint import Checkpoint
from lasttoken.training.passes import PassSoFar
from lasttoken.training.probe_heads import ProbeRow, ProbeTable
from lasttoken.training.state import Extent, TrainState
from lasttoken.training.world import World


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return what training changes of a model, by name; the tensors are the model's own."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def set_trained_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Write weights into a model in place."""
    own = trained_weights(model)
    if own.keys() != weights.keys():
        raise ValueError(f"weights {sorted(own.keys() ^ weights.keys())} are not those that train")
    for name, weight in weights.items():
        own[name].copy_(weight)


def capture(
    model: nn.Module,
    optimizer: Optimizer,
    state: TrainState,
    so_far: Mapping[str, Tensor],
    extent: Extent,
) -> Checkpoint:
    """Return a checkpoint; its tensors are those of the run, not copies.

    Args:
        model: that trains.
        optimizer: of it.
        state: what the loop changes.
        so_far: what the epoch at hand has given in all processes.
        extent: how much of the model trains.
    """
    moments = optimizer.state_dict()["state"]
    progress = {f"so_far.{name}": tensor for name, tensor in so_far.items()}
    if state.starting_head is not None:
        progress["starting_head"] = state.starting_head
    return Checkpoint(
        weights=trained_weights(model),
        optimizer={
            kind: {str(number): values[kind] for number, values in moments.items()}
            for kind in next(iter(moments.values()), {})
        },
        progress={**progress, "kept_logits": torch.from_numpy(state.kept_logits)},
        state={
            "epoch": state.epoch,
            "step": state.step,
            "kept_epoch": state.kept_epoch,
            "best_metric": state.best_metric if math.isfinite(state.best_metric) else None,
            "kept_checkpoint": state.kept_checkpoint,
            "history": [dataclasses.asdict(row) for row in state.history],
            "num_batches": state.so_far.num_batches,
            "epoch_seconds": time.perf_counter() - state.epoch_started,
            "extent": dataclasses.asdict(extent),
        },
    )


def restore(
    checkpoint: Checkpoint,
    model: nn.Module,
    optimizer: Optimizer,
    device: torch.device,
    world: World,
) -> TrainState:
    """Move a checkpoint into a model and a new optimizer, and return the loop's state.

    Of several processes, the main one takes over what the epoch has given so far.
    """
    starting_head, starting_weights = checkpoint.progress.get("starting_head"), None
    if starting_head is not None:  # the model is as loaded: with that head, it is as it started
        _head(model).copy_(starting_head)
        starting_weights = {name: w.cpu().clone() for name, w in trained_weights(model).items()}
    set_trained_weights(model, checkpoint.weights)
    checkpoint.weights.clear()  # the model has them: no second copy for the rest of the run
    moments: dict[int, dict[str, Tensor]] = {}
    for kind, values in checkpoint.optimizer.items():
        for number, value in values.items():
            moments.setdefault(int(number), {})[kind] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    saved = checkpoint.state
    state = TrainState(
        epoch=saved["epoch"],
        step=saved["step"],
        kept_epoch=saved["kept_epoch"],
        history=[EpochEnd(**row) for row in saved["history"]],
        kept_weights=checkpoint.kept_weights or starting_weights,
        kept_logits=checkpoint.progress["kept_logits"].numpy(),
        kept_checkpoint=saved["kept_checkpoint"],
        starting_head=starting_head,
        so_far=PassSoFar.from_tensors(
            saved["num_batches"],
            {
                name.removeprefix("so_far."): tensor
                for name, tensor in checkpoint.progress.items()
                if name.startswith("so_far.") and world.is_main
            },
            device,
        ),
        epoch_started=time.perf_counter() - saved["epoch_seconds"],
    )
    if saved["best_metric"] is not None:
        state.best_metric = saved["best_metric"]
    return state


def _head(model: Any) -> Tensor:  # noqa: ANN401 - a module's attributes
    weight: Tensor = model.hf_model.score.weight
    return weight.detach()


def extent_of(checkpoint: Checkpoint) -> Extent:
    """Return how much of the model the run trains."""
    saved: dict[str, Any] = dict(checkpoint.state["extent"])
    table = saved["probe_table"]
    if table is not None:
        rows = tuple(ProbeRow(**row) for row in table["rows"])
        saved["probe_table"] = ProbeTable(rows, table["num_examples"])
    return Extent(**saved)
