"""Optimizer and learning-rate schedule."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

ADAM_EPSILON = 1e-8  # as in the tutorial, and torch's own default


def make_optimizer(model: nn.Module, *, learning_rate: float, weight_decay: float) -> AdamW:
    """Return fused AdamW over all trainable weights; only matrices decay.

    Source:
        Loshchilov and Hutter (arXiv 1711.05101). Norms and biases do not decay, as is usual
        since BERT (arXiv 1810.04805).
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=learning_rate, eps=ADAM_EPSILON, fused=True)


def make_schedule(
    optimizer: AdamW, *, num_steps: int, warmup_fraction: float = 0.0, steps_taken: int = 0
) -> LambdaLR:
    """Return a rate that rises linearly during warmup and falls linearly to 0 at `num_steps`.

    Args:
        optimizer: with the peak rate.
        num_steps: of the whole run.
        warmup_fraction: share of the steps that warm up.
        steps_taken: before this schedule: a resumed run goes on with the next step's rate.

    Source:
        The tutorial's schedule (linear decay without warmup), as
        `get_linear_schedule_with_warmup` in transformers defines it.
    """
    warmup_steps = int(num_steps * warmup_fraction)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return step / max(1, warmup_steps)
        return max(0.0, (num_steps - step) / max(1, num_steps - warmup_steps))

    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # what torch asks for where a schedule goes on
    return LambdaLR(optimizer, factor, last_epoch=steps_taken - 1)


def rate_at(schedule: LambdaLR, step: int) -> float:
    """Return the learning rate of an optimizer step, counted from 0."""
    return float(schedule.base_lrs[0] * schedule.lr_lambdas[0](step))
