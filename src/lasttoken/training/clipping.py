"""Clipping the gradient's norm, in the same pass over memory as the optimizer's step.

On a CPU both wait for memory: plain clipping reads every gradient for the norm, then reads and
writes all of them again. A fused optimizer divides each gradient by a scale where it reads it
anyway, so here only the norm is a pass of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

# Added to the norm, so that the numbers are those of torch's `clip_grad_norm_`, which does so.
_NORM_EPSILON = 1e-6


def make_clipped_step(
    model: nn.Module, optimizer: Optimizer, accelerator: Accelerator, max_grad_norm: float
) -> Callable[[], None]:
    """Return what clips the gradients and steps the optimizer.

    Args:
        model: all its gradients together make the norm.
        optimizer: a fused one, if every weight of the model that learns is one of its own, clips as
            it steps; any other after a pass of clipping.
        accelerator: that prepared both. One that scales losses (fp16) has the optimizer's scale for
            itself, so there clipping is a pass too.
        max_grad_norm: the gradient's 2-norm is clipped at this.

    Source:
        Pascanu et al. (arXiv 1211.5063): gradients g become g * min(1, max / |g|), the numbers of
        `torch.nn.utils.clip_grad_norm_` up to rounding. torch's fused optimizers read a
        `grad_scale` to divide by, made for mixed precision.
    """
    inner: Any = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
    weights = [weight for weight in model.parameters() if weight.requires_grad]

    def clip_then_step() -> None:
        accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()

    def clip_in_step() -> None:
        grads = [weight.grad for weight in weights if weight.grad is not None]
        excess = (_norm(grads) + _NORM_EPSILON) / max_grad_norm
        inner.grad_scale = excess.clamp(min=1.0)
        try:
            optimizer.step()
        finally:
            del inner.grad_scale  # whoever steps this optimizer next gave no scale

    scale_is_free = accelerator.scaler is None
    return clip_in_step if scale_is_free and _steps_all(inner, weights) else clip_then_step


def _steps_all(optimizer: Optimizer, weights: list[nn.Parameter]) -> bool:
    """Return whether the optimizer is a fused one that steps each of these weights."""
    if not all(group.get("fused") for group in optimizer.param_groups):
        return False
    stepped = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    return all(id(weight) in stepped for weight in weights)


def _norm(grads: list[Tensor]) -> Tensor:
    """Return the 2-norm over all gradients, a scalar.

    By dot products: torch's norm takes twice their time on a CPU.
    """
    flat = [grad.reshape(-1) for grad in grads]
    return torch.stack([torch.dot(grad, grad) for grad in flat]).sum().sqrt()
