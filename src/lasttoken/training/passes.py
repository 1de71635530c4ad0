"""What a pass over a dataloader gives: as it comes in, and at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lasttoken.data.losses import counted


@dataclass(frozen=True)
class PassResult:
    """What one pass over a dataloader gave; unpacks into the tutorial's three values.

        true_labels, predicted_labels, loss = validation(model, dataloader, device)

    Attributes:
        true_labels: N label ids in the order of the batches; of sets, N rows of 0 and 1; of a
            regression, N numbers as the loss sees them.
        predicted_labels: likewise: the largest logit of each row; the logits above 0, where a
            label is more probable than not; the logit itself.
        loss: mean per example, in nats; of a regression, the mean squared error.
        logits: (N, C) fp32 on the CPU, rows in the order of the batches.
    """

    true_labels: list[Any]
    predicted_labels: list[Any]
    loss: float
    logits: Tensor

    def __iter__(self) -> Iterator[Any]:
        """Yield true labels, predicted labels and mean loss."""
        return iter((self.true_labels, self.predicted_labels, self.loss))

    @property
    def accuracy(self) -> float | None:
        """Return the share of equal labels or sets, 0 to 1; None of numbers."""
        true_labels = np.array(self.true_labels)
        if true_labels.dtype.kind == "f":
            return None
        equal = true_labels == np.array(self.predicted_labels)
        return float(equal.reshape(len(equal), -1).all(axis=1).mean())


@dataclass
class PassSoFar:
    """A pass as it goes: each batch's results, which stay on the device until the end.

    Attributes:
        num_batches: that the pass has behind it, in all processes together.
        true_labels: (B,) or (B, C) of each batch, as `LabelSpec.encode` gives them.
        logits: (B, C) of each batch.
        loss_sums: () of each batch, nats.
    """

    num_batches: int = 0
    true_labels: list[Tensor] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    loss_sums: list[Tensor] = field(default_factory=list)

    def add(self, labels: Tensor, logits: Tensor, loss_sum: Tensor) -> None:
        """Take a batch's results, or this process's part of them."""
        self.num_batches += 1
        self.true_labels.append(labels)
        self.logits.append(logits.detach())
        self.loss_sums.append(loss_sum.detach())

    @staticmethod
    def result(parts: Sequence[Mapping[str, Tensor]]) -> PassResult:
        """Return the results of all batches.

        Args:
            parts: every process's `to_tensors`.
        """
        parts = [part for part in parts if part]
        true_labels = torch.cat([part["true_labels"] for part in parts])
        logits = torch.cat([part["logits"] for part in parts]).float()  # (N, C)
        loss_sum = torch.cat([part["loss_sums"] for part in parts]).double().sum()
        counts = counted(true_labels)
        true_labels, logits = true_labels[counts], logits[counts]
        loss = float(loss_sum) / len(true_labels)
        return PassResult(*_as_lists(true_labels, logits), loss, logits)

    def recent_loss(self, num_batches: int = 20) -> float:
        """Return the mean loss of this process's last batches; waits for the device."""
        labels = torch.cat(self.true_labels[-num_batches:])
        num_examples = max(1, int(counted(labels).sum()))
        return float(torch.stack(self.loss_sums[-num_batches:]).sum()) / num_examples

    def to_tensors(self) -> dict[str, Tensor]:
        """Return this process's results as tensors on the CPU: none if it had no batch."""
        if not self.loss_sums:
            return {}
        return {
            "sizes": torch.tensor([len(labels) for labels in self.true_labels]),
            "true_labels": torch.cat(self.true_labels).cpu(),
            "logits": torch.cat(self.logits).cpu(),
            "loss_sums": torch.stack(self.loss_sums).cpu(),
        }

    @classmethod
    def from_tensors(
        cls, num_batches: int, tensors: Mapping[str, Tensor], device: torch.device
    ) -> PassSoFar:
        """Return what `to_tensors` was called on, bit for bit; losses and logits on `device`."""
        if not tensors:
            return cls(num_batches)
        sizes = tensors["sizes"].tolist()
        return cls(
            num_batches,
            list(tensors["true_labels"].split(sizes)),
            list(tensors["logits"].to(device).split(sizes)),
            list(tensors["loss_sums"].to(device).unbind()),
        )


def _as_lists(targets: Tensor, logits: Tensor) -> tuple[list[Any], list[Any]]:
    """Return what is true and what is predicted; the targets' form tells the kind of task."""
    if targets.ndim == 2:
        return targets.int().tolist(), (logits >= 0).int().tolist()
    if targets.is_floating_point():
        return targets.tolist(), logits[:, 0].tolist()
    return targets.tolist(), logits.argmax(dim=-1).tolist()


def merge_parts(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return every process's `to_tensors` as one, process after process."""
    there = [part for part in parts if part]
    return {name: torch.cat([part[name] for part in there]) for name in (there[0] if there else ())}
