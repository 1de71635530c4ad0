"""Dropout with faster random numbers is dropout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lasttoken.model import dropout as dropout_module
from lasttoken.model.dropout import Dropout, dropout

DTYPES = [torch.float32, torch.bfloat16, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_of_zeros_is_p_and_the_rest_is_scaled(dtype: torch.dtype, p: float) -> None:
    torch.manual_seed(0)
    found = dropout(torch.ones(400, 1001, dtype=dtype), p)
    assert abs(float((found == 0).double().mean()) - p) < 0.005
    assert found.unique().tolist() == [0.0, float(torch.tensor(1 / (1 - p), dtype=dtype))]


def test_torchs_seed_decides_what_is_dropped() -> None:
    ones = torch.ones(1000)
    torch.manual_seed(1)
    first, second = dropout(ones, 0.5), dropout(ones, 0.5)
    torch.manual_seed(1)
    assert torch.equal(dropout(ones, 0.5), first)
    assert not torch.equal(first, second)


def test_neighboring_elements_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = (dropout(torch.ones(400_000), 0.5) != 0).double() - 0.5
    for lag in (1, 2, 3, 4, 8):
        assert abs(float((kept[lag:] * kept[:-lag]).mean())) < 0.003


def test_the_gradient_passes_where_the_element_was_kept() -> None:
    inputs = torch.ones(3, 7, requires_grad=True)
    found = dropout(inputs, 0.5)
    found.sum().backward()
    assert torch.equal(inputs.grad, found.detach())


def test_nothing_is_dropped_at_0_or_outside_of_training_and_all_at_1() -> None:
    ones = torch.ones(5)
    assert dropout(ones, 0.0) is ones
    assert not dropout(ones, 1.0).any()
    assert torch.equal(Dropout(0.5).eval()(ones), ones)
    assert (Dropout(0.5).train()(torch.ones(1000)) == 0).any()


def test_only_plain_dropout_modules_are_replaced() -> None:
    model = nn.Sequential(nn.Dropout(0.1), nn.Dropout2d(0.1), nn.Dropout(0.2, inplace=True))
    dropout_module.install(model)
    assert [type(module) for module in model] == [Dropout, nn.Dropout2d, nn.Dropout]
