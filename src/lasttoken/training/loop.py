"""The one loop over batches: `train` with updates, `validation` without; `fit` calls both.

    for each optimizer step:    count its examples
        for each batch of it:   forward, backward on the summed loss / the step's examples
        clip, step, schedule

Dropout is a function of (seed, epoch, batch); no generator runs along.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import nullcontext
from itertools import islice
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lasttoken.data.losses import counted
from lasttoken.errors import ConfigError
from lasttoken.events import EventCallback, Progress, ignore
from lasttoken.model.batch import to_device
from lasttoken.model.device import Precision, autocast
from lasttoken.training.clipping import make_clipped_step
from lasttoken.training.passes import PassResult, PassSoFar
from lasttoken.training.world import World, plain_accelerator

_STEPS_PER_LOSS = 10  # reading the loss waits for the device, so not at every step


def train(
    model: nn.Module,
    dataloader: Iterable[Mapping[str, Tensor]],
    optimizer: Optimizer,
    scheduler: LRScheduler,
    device: torch.device | str,
    *,
    gradient_accumulation_steps: int = 1,
    max_grad_norm: float = 1.0,
    precision: Precision = "fp32",
    seed: int | None = None,
    epoch: int = 0,
    accelerator: Accelerator | None = None,
    so_far: PassSoFar | None = None,
    after_step: Callable[[], None] = lambda: None,
    on_event: EventCallback = ignore,
) -> PassResult:
    """Make one pass over a dataloader, with updates.

    Args:
        model: a `Classifier` or any stock model that takes `**inputs` with `labels` and returns
            `loss` (mean) and `logits`; on `device`.
        dataloader: batches in either layout of `Gpt2ClassificationCollator`, with labels; of
            several processes, each has its part of every batch.
        optimizer: steps once every `gradient_accumulation_steps` batches and at the end.
        scheduler: steps once with each optimizer step.
        device: where the batches go.
        gradient_accumulation_steps: batches whose gradients are added up before a step.
        max_grad_norm: the gradient's 2-norm is clipped at this.
        precision: "fp32", or "bf16" for matrices only.
        seed: makes dropout a function of (seed, epoch, batch); None leaves torch's generator alone.
        epoch: counted from 0.
        accelerator: that prepared model and optimizer; a plain one if None.
        so_far: what an interrupted pass gave until its last step, and this one adds to; the
            dataloader begins behind its batches. None is a pass from its beginning.
        after_step: called when a step is done and before the next begins.
        on_event: hears `Progress("train", ...)` after every step.

    Returns:
        True and predicted label ids, and the mean loss, as seen during the pass.

    Raises:
        ConfigError: the loss is no longer a finite number.
    """
    device = torch.device(device)
    accelerator = accelerator or plain_accelerator()
    world = World(accelerator)
    tally = PassSoFar() if so_far is None else so_far
    steps_before = -(-tally.num_batches // gradient_accumulation_steps)
    steps_left = _num_steps(dataloader, gradient_accumulation_steps)
    num_steps = None if steps_left is None else steps_before + steps_left
    clipped_step = make_clipped_step(model, optimizer, accelerator, max_grad_norm)
    detail = ""
    model.train()
    groups = _grouped(dataloader, gradient_accumulation_steps)
    for step, batches in enumerate(groups, start=steps_before):
        # Divide sums once by the examples of the whole step: an average of averages would
        # weigh the texts of a small batch more.
        num_examples = world.total(sum(_num_examples(batch) for batch in batches))
        for place, batch in enumerate(batches):
            if seed is not None:
                number = step * gradient_accumulation_steps + place
                _seed_dropout(seed, epoch, number, world.rank)
            is_last = place + 1 == len(batches)
            # Several processes average their gradients, so each counts as many times as there are.
            with nullcontext() if is_last else accelerator.no_sync(model):
                with autocast(device, precision):
                    output = model(**to_device(batch, device))
                loss_sum = output.loss * len(batch["labels"])
                accelerator.backward(loss_sum / (num_examples / world.size))
            tally.add(batch["labels"], output.logits, loss_sum)
        clipped_step()
        scheduler.step()
        optimizer.zero_grad()
        if step % _STEPS_PER_LOSS == 0:
            recent_loss = tally.recent_loss()  # waits for the device
            _check_finite(recent_loss, f"epoch {epoch + 1}, step {step + 1}")
            detail = f"loss {recent_loss:.3f}"
        on_event(Progress("train", step + 1, num_steps, "steps", detail))
        after_step()
    result = tally.result(world.gather(tally.to_tensors()))
    _check_finite(result.loss, f"epoch {epoch + 1}")
    return result


@torch.inference_mode()
def validation(
    model: nn.Module,
    dataloader: Iterable[Mapping[str, Tensor]],
    device: torch.device | str,
    *,
    precision: Precision = "fp32",
    world: World | None = None,
    on_event: EventCallback = ignore,
) -> PassResult:
    """Make one pass over a dataloader without updates, dropout off.

    Args:
        model: as for `train`; left in evaluation mode.
        dataloader: as for `train`.
        device: where the batches go.
        precision: as for `train`.
        world: the processes that share the batches; None if this one has them all.
        on_event: hears `Progress("validate", ...)` after every batch.

    Returns:
        True and predicted label ids in the order of the batches, process after process, and the
        mean loss.

    Raises:
        ConfigError: the loss is no finite number.
    """
    device = torch.device(device)
    num_batches = _num_steps(dataloader, 1)
    tally = PassSoFar()
    model.eval()
    with autocast(device, precision):
        for done, batch in enumerate(dataloader, start=1):
            output = model(**to_device(batch, device))
            tally.add(batch["labels"], output.logits, output.loss * len(batch["labels"]))
            on_event(Progress("validate", done, num_batches, "batches"))
    mine = tally.to_tensors()
    result = tally.result([mine] if world is None else world.gather(mine))
    _check_finite(result.loss, "validation")
    return result


def _check_finite(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise ConfigError(
            f"{where}: the loss is {loss}, training has diverged",
            expected="a finite loss",
            remedy="a smaller --learning-rate, or --precision fp32",
        )


def _num_steps(dataloader: Iterable[Any], gradient_accumulation_steps: int) -> int | None:
    num_batches = len(dataloader) if isinstance(dataloader, Sized) else None
    return None if num_batches is None else -(-num_batches // gradient_accumulation_steps)


def _grouped(
    dataloader: Iterable[Mapping[str, Tensor]], size: int
) -> Iterator[list[Mapping[str, Tensor]]]:
    batches = iter(dataloader)
    while group := list(islice(batches, size)):
        yield group


def _num_examples(batch: Mapping[str, Tensor]) -> int:
    """Return the examples of a batch that count."""
    return int(counted(batch["labels"]).sum())


def _seed_dropout(seed: int, epoch: int, batch: int, rank: int) -> None:
    """Make dropout a function of (seed, epoch, batch), so that a resumed run repeats it.

    Each further process has its own: texts of one batch shall not be dropped alike.
    """
    words = [seed, epoch, batch, *([rank] if rank else [])]
    torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))
