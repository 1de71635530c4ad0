"""A bf16 product in parts gives what autocast gives, up to bf16 rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lasttoken.model.bf16 import bf16_product
from lasttoken.model.products import Product

SHAPES = [(20, 32, 48), (700, 96, 32), (1500, 32, 96), (1281, 64, 64)]


def module_of(kind: str, width: int, out: int, *, bias: bool) -> nn.Module:
    torch.manual_seed(0)
    if kind == "Conv1D":
        module: nn.Module = Conv1D(out, width)
        nn.init.normal_(module.bias)
        return module
    return nn.Linear(width, out, bias=bias)


def gradients(module: nn.Module, rows: Tensor) -> list[Tensor]:
    inputs = rows.clone().requires_grad_()
    module.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        product = module(inputs)
    assert product.dtype == torch.bfloat16
    product.float().square().sum().backward()
    return [product.detach(), inputs.grad, *(p.grad for p in module.parameters())]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "bias"), [("Conv1D", True), ("Linear", True), ("Linear", False)])
def test_product_and_gradients_are_those_of_autocast(
    shape: tuple[int, int, int], kind: str, bias: bool
) -> None:
    num_rows, width, out = shape
    module = module_of(kind, width, out, bias=bias)
    rows = torch.randn(1, num_rows, width)
    expected = gradients(module, rows)
    module.forward = Product(module)
    found = gradients(module, rows)
    assert len(found) == len(expected) == 4 - (not bias)
    for ours, theirs in zip(found, expected):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert (ours - theirs).norm() <= 0.01 * theirs.norm()


def test_a_frozen_weight_gets_no_gradient_and_lets_it_pass() -> None:
    weight, bias = torch.randn(8, 4), torch.randn(8)
    inputs = torch.randn(5, 4, requires_grad=True)
    product = bf16_product(inputs, weight, bias, is_transposed=False)
    product.sum().backward()
    assert torch.allclose(inputs.grad, weight.bfloat16().float().sum(0).expand(5, 4), atol=0.05)
    assert weight.grad is None


def test_frozen_inputs_leave_the_weights_gradient() -> None:
    weight = torch.randn(8, 4, requires_grad=True)
    bf16_product(torch.ones(5, 4), weight, None, is_transposed=False).sum().backward()
    assert torch.equal(weight.grad, torch.full((8, 4), 5.0))
