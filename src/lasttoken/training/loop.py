"""The one loop over batches: `train` with updates, `validation` without; `fit` calls both.

    for each optimizer step:    count its examples
        for each batch of it:   forward, backward on the summed loss / the step's examples
        clip, step, schedule

Dropout is a function of (seed, epoch, batch); no generator runs along.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lasttoken.errors import ConfigError
from lasttoken.events import EventCallback, Progress, ignore
from lasttoken.model.batch import to_device
from lasttoken.model.device import Precision, autocast
from lasttoken.training.clipping import make_clipped_step

_STEPS_PER_LOSS = 10  # reading the loss waits for the device, so not at every step


@dataclass(frozen=True)
class PassResult:
    """What one pass over a dataloader gave; unpacks into the tutorial's three values.

        true_labels, predicted_labels, loss = validation(model, dataloader, device)

    Attributes:
        true_labels: N label ids in the order of the batches.
        predicted_labels: N label ids, the largest logit of each row.
        loss: mean nats per example.
        logits: (N, C) fp32 on the CPU, rows in the order of the batches.
    """

    true_labels: list[int]
    predicted_labels: list[int]
    loss: float
    logits: Tensor

    def __iter__(self) -> Iterator[Any]:
        """Yield true labels, predicted labels and mean loss."""
        return iter((self.true_labels, self.predicted_labels, self.loss))

    @property
    def accuracy(self) -> float:
        """Return the share of equal labels, 0 to 1."""
        equal = np.array(self.true_labels) == np.array(self.predicted_labels)
        return float(equal.mean())


@dataclass
class _Tally:
    """Results of a pass as they come in; tensors stay on the device until the end."""

    true_labels: list[Tensor] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    loss_sums: list[Tensor] = field(default_factory=list)

    def add(self, labels: Tensor, logits: Tensor, loss_sum: Tensor) -> None:
        self.true_labels.append(labels)
        self.logits.append(logits.detach())
        self.loss_sums.append(loss_sum.detach())

    def result(self) -> PassResult:
        logits = torch.cat(self.logits).float().cpu()  # (N, C)
        true_labels = torch.cat(self.true_labels).tolist()
        loss = float(torch.stack(self.loss_sums).double().sum()) / len(true_labels)
        return PassResult(true_labels, logits.argmax(dim=-1).tolist(), loss, logits)

    def recent_loss(self, num_batches: int = 20) -> float:
        """Return the mean loss of the last batches; waits for the device."""
        num_examples = sum(len(labels) for labels in self.true_labels[-num_batches:])
        return float(torch.stack(self.loss_sums[-num_batches:]).sum()) / num_examples


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
    on_event: EventCallback = ignore,
) -> PassResult:
    """Make one pass over a dataloader, with updates.

    Args:
        model: a `Classifier` or any stock model that takes `**inputs` with `labels` and returns
            `loss` (mean) and `logits`; on `device`.
        dataloader: batches in either layout of `Gpt2ClassificationCollator`, with labels.
        optimizer: steps once every `gradient_accumulation_steps` batches and at the end.
        scheduler: steps once with each optimizer step.
        device: where the batches go.
        gradient_accumulation_steps: batches whose gradients are added up before a step.
        max_grad_norm: the gradient's 2-norm is clipped at this.
        precision: "fp32", or "bf16" for matrices only.
        seed: makes dropout a function of (seed, epoch, batch); None leaves torch's generator alone.
        epoch: counted from 0.
        accelerator: that prepared model and optimizer; a plain one if None.
        on_event: hears `Progress("train", ...)` after every step.

    Returns:
        True and predicted label ids, and the mean loss, as seen during the pass.

    Raises:
        ConfigError: the loss is no longer a finite number.
    """
    device = torch.device(device)
    accelerator = accelerator or plain_accelerator()
    num_steps = _num_steps(dataloader, gradient_accumulation_steps)
    clipped_step = make_clipped_step(model, optimizer, accelerator, max_grad_norm)
    tally = _Tally()
    detail = ""
    model.train()
    for step, batches in enumerate(_grouped(dataloader, gradient_accumulation_steps)):
        # Divide sums once by the examples of the whole step: an average of averages would
        # weigh the texts of a small batch more.
        num_examples = sum(len(batch["labels"]) for batch in batches)
        for place, batch in enumerate(batches):
            if seed is not None:
                _seed_dropout(seed, epoch, step * gradient_accumulation_steps + place)
            with autocast(device, precision):
                output = model(**to_device(batch, device))
            loss_sum = output.loss * len(batch["labels"])
            accelerator.backward(loss_sum / num_examples)
            tally.add(batch["labels"], output.logits, loss_sum)
        clipped_step()
        scheduler.step()
        optimizer.zero_grad()
        if step % _STEPS_PER_LOSS == 0:
            recent_loss = tally.recent_loss()  # waits for the device
            _check_finite(recent_loss, f"epoch {epoch + 1}, step {step + 1}")
            detail = f"loss {recent_loss:.3f}"
        on_event(Progress("train", step + 1, num_steps, "steps", detail))
    result = tally.result()
    _check_finite(result.loss, f"epoch {epoch + 1}")
    return result


@torch.inference_mode()
def validation(
    model: nn.Module,
    dataloader: Iterable[Mapping[str, Tensor]],
    device: torch.device | str,
    *,
    precision: Precision = "fp32",
    on_event: EventCallback = ignore,
) -> PassResult:
    """Make one pass over a dataloader without updates, dropout off.

    Args:
        model: as for `train`; left in evaluation mode.
        dataloader: as for `train`.
        device: where the batches go.
        precision: as for `train`.
        on_event: hears `Progress("validate", ...)` after every batch.

    Returns:
        True and predicted label ids in the order of the batches, and the mean loss.

    Raises:
        ConfigError: the loss is no finite number.
    """
    device = torch.device(device)
    num_batches = _num_steps(dataloader, 1)
    tally = _Tally()
    model.eval()
    with autocast(device, precision):
        for done, batch in enumerate(dataloader, start=1):
            output = model(**to_device(batch, device))
            tally.add(batch["labels"], output.logits, output.loss * len(batch["labels"]))
            on_event(Progress("validate", done, num_batches, "batches"))
    result = tally.result()
    _check_finite(result.loss, "validation")
    return result


def plain_accelerator() -> Accelerator:
    """Return an Accelerator that leaves device and precision to us."""
    return Accelerator(device_placement=False, mixed_precision="no", gradient_accumulation_steps=1)


def _check_finite(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise ConfigError(
            f"{where}: the loss is {loss}, training has diverged",
            expected="a finite loss",
            remedy="a smaller --learning-rate (5e-5 is the default), or --precision fp32",
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


def _seed_dropout(seed: int, epoch: int, batch: int) -> None:
    """Make dropout a function of (seed, epoch, batch), so that a resumed run repeats it."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, batch]).generate_state(1)[0]))
