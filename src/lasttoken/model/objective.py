"""What training lowers: the loss of the task, with label weights and focal loss where asked for.

                 without                            with weights w and gamma g
    one label    -log p                             w (1 - p) ** g  x  -log p
    sets         mean over labels of -log p         w of the labels that an example has, likewise
    ordered      cross-entropy of soft targets      w of the example's label; no gamma

p is the probability of what is true. Sums go over examples, and are divided by their number, not by
the sum of their weights: so a batch in parts still gives the gradient of the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lasttoken.data.labels import LabelSpec
from lasttoken.data.losses import counted, ordinal_losses
from lasttoken.data.written import LabelKind


@dataclass(frozen=True)
class Objective:
    """The loss of a task, and how it weighs labels and easy examples.

    Attributes:
        labels: C labels; what the task is.
        label_weights: of each label, above 0; None weighs all alike. Of sets: how much a label
            that an example has counts beside one that it has not.
        focal_gamma: 0 or more; the larger, the less counts what is predicted well already.

    Source:
        Weights as torch's `cross_entropy(weight=)` and `BCEWithLogitsLoss(pos_weight=)`. Focal
        loss: Lin et al. (arXiv 1708.02002), equation 5, where weights stand for alpha.
    """

    labels: LabelSpec
    label_weights: tuple[float, ...] | None = None
    focal_gamma: float = 0.0

    @property
    def is_plain(self) -> bool:
        """Return whether it is the task's own loss."""
        return self.label_weights is None and self.focal_gamma == 0.0

    @property
    def weight_of(self) -> dict[str, float] | None:
        """Return label to weight; None if all count alike."""
        if self.label_weights is None:
            return None
        return dict(zip(self.labels.labels, self.label_weights, strict=True))

    def loss_sum(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the summed loss of a batch: a scalar, fp32; see `LabelSpec.loss_sum`.

        Shapes:
            logits (B, C); targets as from `LabelSpec.encode`.
        """
        if self.is_plain:
            return self.labels.loss_sum(logits, targets)
        weights = torch.ones(self.labels.num_logits, device=logits.device)
        if self.label_weights is not None:
            weights = torch.tensor(self.label_weights, device=logits.device)
        losses = _LOSSES[self.labels.kind](logits.float(), targets, weights, self.focal_gamma)
        return torch.where(counted(targets), losses, 0.0).sum()


def _single_label(logits: Tensor, targets: Tensor, weights: Tensor, gamma: float) -> Tensor:
    """Return (B,) losses for logits (B, C) and targets (B,)."""
    ids = targets.clamp(min=0)
    log_p = logits.log_softmax(dim=1).gather(1, ids[:, None])[:, 0]
    # 1 - p from the other labels' logits: exact where p is nearly 1, and so is its gradient.
    others = logits.scatter(1, ids[:, None], -torch.inf)
    log_rest = others.logsumexp(dim=1) - logits.logsumexp(dim=1)
    return -weights[ids] * _focus(log_rest, gamma) * log_p


def _multi_label(logits: Tensor, targets: Tensor, weights: Tensor, gamma: float) -> Tensor:
    """Return (B,) losses for logits and targets (B, C)."""
    signs = torch.where(targets > 0, 1.0, -1.0)
    log_p = functional.logsigmoid(signs * logits)  # (B, C)
    log_rest = functional.logsigmoid(-signs * logits)
    losses = -torch.where(targets > 0, weights, 1.0) * _focus(log_rest, gamma) * log_p
    return losses.mean(dim=1)


def _ordinal(logits: Tensor, targets: Tensor, weights: Tensor, gamma: float) -> Tensor:
    """Return (B,) losses for logits (B, C) and targets (B,)."""
    if gamma:
        raise ValueError("focal loss of soft targets is not defined")
    return weights[targets.clamp(min=0)] * ordinal_losses(logits, targets)


def _regression(logits: Tensor, targets: Tensor, weights: Tensor, gamma: float) -> Tensor:
    raise ValueError("a number has no label to weigh")


def _focus(log_rest: Tensor, gamma: float) -> Tensor:
    """Return (1 - p) ** gamma for log(1 - p)."""
    return (gamma * log_rest).exp() if gamma else torch.ones_like(log_rest)


_LOSSES: dict[LabelKind, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    "single_label": _single_label,
    "multi_label": _multi_label,
    "ordinal": _ordinal,
    "regression": _regression,
}
