"""What a pass over a dataloader gives: as it comes in, and at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

# The label id of an example that fills a place and counts nowhere: torch's `cross_entropy` gives it
# no loss, and no gradient.
IGNORED_LABEL = -100


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
class PassSoFar:
    """A pass as it goes: each batch's results, which stay on the device until the end.

    Attributes:
        num_batches: that the pass has behind it, in all processes together.
        true_labels: (B,) int64 of each batch.
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
        counted = true_labels != IGNORED_LABEL
        true_labels, logits = true_labels[counted], logits[counted]
        loss = float(loss_sum) / len(true_labels)
        return PassResult(true_labels.tolist(), logits.argmax(dim=-1).tolist(), loss, logits)

    def recent_loss(self, num_batches: int = 20) -> float:
        """Return the mean loss of this process's last batches; waits for the device."""
        labels = torch.cat(self.true_labels[-num_batches:])
        num_examples = max(1, int((labels != IGNORED_LABEL).sum()))
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


def merge_parts(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return every process's `to_tensors` as one, process after process."""
    there = [part for part in parts if part]
    return {name: torch.cat([part[name] for part in there]) for name in (there[0] if there else ())}
