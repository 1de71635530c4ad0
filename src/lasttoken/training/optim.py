"""Optimizer, learning-rate schedule, and how rates fall from the head down."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from lasttoken.model.blocks import find_blocks
from lasttoken.model.classifier import Classifier
from lasttoken.model.frozen import tail_modules

ADAM_EPSILON = 1e-8  # as in the tutorial, and torch's own default


def make_optimizer(
    model: nn.Module, *, learning_rate: float, weight_decay: float, layer_decay: float = 1.0
) -> AdamW:
    """Return fused AdamW over all trainable weights; only matrices decay.

    Args:
        model: a `Classifier` if `layer_decay` is below 1, else any.
        learning_rate: the peak, of the head.
        weight_decay: of matrices.
        layer_decay: each block learns at the rate of the one above it times this; the highest at
            the head's times this, embeddings at the lowest block's times this.

    Source:
        Loshchilov and Hutter (arXiv 1711.05101). Norms and biases do not decay, as is usual
        since BERT (arXiv 1810.04805). Rates by layer: Howard and Ruder (arXiv 1801.06146), with
        ELECTRA's powers of one factor (arXiv 2003.10555).
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    steps = steps_below_head(model) if layer_decay < 1 else defaultdict[int, int](int)
    groups = [
        {
            "params": [p for p in trainable if steps[id(p)] == step and (p.ndim >= 2) is is_matrix],
            "lr": learning_rate * layer_decay**step,
            "weight_decay": weight_decay if is_matrix else 0.0,
        }
        # The head's first: the rate of the first group is the one that is told.
        for step in sorted({steps[id(p)] for p in trainable})
        for is_matrix in (True, False)
    ]
    return AdamW(groups, lr=learning_rate, eps=ADAM_EPSILON, fused=True)


def steps_below_head(classifier: nn.Module) -> dict[int, int]:
    """Return how far below the head each weight stands, by its `id`.

    Of n blocks: 0 the head and what else runs behind the last block, 1 the last block, n the first
    one, n + 1 the embeddings and what else runs before it.
    """
    assert isinstance(classifier, Classifier)
    model: Any = classifier.hf_model
    blocks = list(find_blocks(model))
    steps = {id(p): len(blocks) + 1 for p in model.parameters()}
    for step, block in enumerate(reversed(blocks), start=1):
        steps |= {id(p): step for p in block.parameters()}
    steps |= {id(p): 0 for module in tail_modules(classifier) for p in module.parameters()}
    return steps


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
