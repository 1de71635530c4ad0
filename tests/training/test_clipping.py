"""Clipping inside the step of a fused optimizer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from lasttoken.training.clipping import make_clipped_step
from lasttoken.training.loop import plain_accelerator

MAX_NORM = 0.5


def norm_of_gradients(model: nn.Module) -> float:
    return float(torch.sqrt(sum(weight.grad.square().sum() for weight in model.parameters())))  # type: ignore


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(40, 300), nn.LayerNorm(300), nn.Linear(300, 7))


def fill_gradients(model: nn.Module, seed: int, size: float) -> None:
    """Give every weight a gradient; all together have the norm `size`."""
    generator = torch.Generator().manual_seed(seed)
    weights = list(model.parameters())
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator)
    norm = norm_of_gradients(model)
    for weight in weights:
        weight.grad *= size / norm  # type: ignore[operator]


@pytest.mark.parametrize("size", [0.0, 0.1, 0.499, 0.501, 30.0, 1e6])
def test_a_fused_step_gives_the_weights_of_clipping_before_it(size: float) -> None:
    model = network()
    expected = copy.deepcopy(model)
    optimizer = AdamW(model.parameters(), lr=0.1, fused=True)
    reference = AdamW(expected.parameters(), lr=0.1, foreach=False)
    step = make_clipped_step(model, optimizer, plain_accelerator(), MAX_NORM)
    for seed in range(4):
        # The moments tell sizes apart, which a first step of Adam alone does not.
        fill_gradients(model, seed, size if seed % 2 else 0.2)
        fill_gradients(expected, seed, size if seed % 2 else 0.2)
        step()
        nn.utils.clip_grad_norm_(expected.parameters(), MAX_NORM)
        reference.step()
    for found, wanted in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
        moments, wanted_moments = optimizer.state[found], reference.state[wanted]
        # Where gradients of two steps nearly cancel, a mean is small beside its rounding.
        for name, rounding in {"exp_avg": 1e-9, "exp_avg_sq": 1e-14}.items():
            torch.testing.assert_close(
                moments[name], wanted_moments[name], rtol=1e-4, atol=rounding
            )


def test_gradients_below_the_limit_step_as_if_nothing_clipped() -> None:
    model = network()
    expected = copy.deepcopy(model)
    fill_gradients(model, 0, 0.4)
    fill_gradients(expected, 0, 0.4)
    optimizer = AdamW(model.parameters(), lr=0.1, fused=True)
    make_clipped_step(model, optimizer, plain_accelerator(), MAX_NORM)()
    AdamW(expected.parameters(), lr=0.1, fused=True).step()
    for found, wanted in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(found, wanted)


def test_the_optimizer_forgets_the_scale_after_its_step() -> None:
    model = network()
    optimizer = AdamW(model.parameters(), lr=0.1, fused=True)
    step = make_clipped_step(model, optimizer, plain_accelerator(), MAX_NORM)
    fill_gradients(model, 0, 100.0)
    step()
    assert not hasattr(optimizer, "grad_scale")


def test_weights_of_another_optimizer_are_clipped_too() -> None:
    model = network()
    optimizer = AdamW(model[0].parameters(), lr=0.1, fused=True)
    step = make_clipped_step(model, optimizer, plain_accelerator(), MAX_NORM)
    fill_gradients(model, 0, 100.0)
    step()
    assert norm_of_gradients(model) == pytest.approx(MAX_NORM, rel=1e-4)


@pytest.mark.parametrize(
    ("scaler", "norm_at_step"), [(None, 100.0), (torch.amp.GradScaler("cpu"), MAX_NORM)]
)
def test_where_losses_are_scaled_gradients_are_clipped_before_the_step(
    scaler: torch.amp.GradScaler | None, norm_at_step: float
) -> None:
    model = network()
    optimizer = AdamW(model.parameters(), lr=0.1, fused=True)
    accelerator = plain_accelerator()
    accelerator.scaler = scaler
    step = make_clipped_step(model, optimizer, accelerator, MAX_NORM)
    fill_gradients(model, 0, 100.0)
    seen: list[float] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append(norm_of_gradients(model)))
    step()
    assert seen == [pytest.approx(norm_at_step, rel=1e-4)]
