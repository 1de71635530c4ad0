"""Products with reordered weights: the same numbers, the same bits for any number of rows."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from equivalences import TEXTS, classify, tolerance
from test_equivalences import load
from torch import nn
from transformers.pytorch_utils import Conv1D

from families import FAMILIES
from lasttoken.model import products
from lasttoken.model.folder import LoadedModel
from lasttoken.model.products import Activation, Product


@pytest.fixture(params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> LoadedModel:
    return load(tmp_path / "model", request.param)


def stand_ins(loaded: LoadedModel) -> list[Product]:
    modules = loaded.classifier.hf_model.base_model.modules()
    return [module.forward for module in modules if isinstance(module.forward, Product)]


def test_every_matrix_of_every_block_has_a_product(loaded: LoadedModel) -> None:
    modules = list(loaded.classifier.hf_model.base_model.modules())
    matrices = [module for module in modules if type(module) in (nn.Linear, Conv1D)]
    assert len(matrices) >= 8
    assert len(stand_ins(loaded)) == len(matrices)


def test_logits_are_those_of_plain_products(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed = classify(loaded, TEXTS)
    assert any(product._packed is not None for product in stand_ins(loaded))
    monkeypatch.setattr(products, "kernels_can_be_fed", lambda: False)
    plain = classify(loaded, TEXTS)
    assert (fed - plain).abs().max() <= tolerance(plain)


def test_training_gives_the_copies_up(loaded: LoadedModel) -> None:
    classify(loaded, TEXTS)
    loaded.classifier.train()
    assert all(product._packed is None for product in stand_ins(loaded))
    loaded.classifier.eval()


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "qwen3", "mistral", "gemma2"])
def test_the_activation_goes_with_the_product_where_the_family_is_known(
    tmp_path: Path, family: str
) -> None:
    loaded = load(tmp_path / "model", family)
    modules = list(loaded.classifier.hf_model.base_model.modules())
    assert sum(isinstance(module.forward, Activation) for module in modules) == 2  # one a block


@pytest.mark.parametrize(("width", "out"), [(768, 2304), (3072, 768), (1536, 576), (576, 192)])
def test_a_row_has_the_same_bits_among_any_number_of_rows_in_fp32(width: int, out: int) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(width, out)
    linear.forward = Product(linear)
    rows = torch.randn(1000, width)
    with torch.no_grad():
        together = linear(rows)
        for count in (16, 18, 24, 46, 64, 130, 512):
            assert torch.equal(linear(rows[:count]), together[:count]), count


@pytest.mark.parametrize("make", [lambda: nn.Linear(32, 48), lambda: Conv1D(48, 32)])
def test_a_changed_weight_is_noticed(make: object) -> None:
    module = make()
    plain = module.forward
    module.forward = Product(module)
    rows = torch.randn(16, 32)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, fused=True)
    for _ in range(3):
        with torch.no_grad():
            assert torch.allclose(module(rows), plain(rows), atol=1e-5)
        module(rows).square().sum().backward()
        optimizer.step()
    module.weight.data.add_(0.5)  # torch counts no change here either
    with torch.no_grad():
        assert torch.allclose(module(rows), plain(rows), atol=1e-5)
    module.load_state_dict({name: tensor + 1 for name, tensor in module.state_dict().items()})
    with torch.no_grad():
        assert torch.allclose(module(rows), plain(rows), atol=1e-5)


def test_a_classifier_that_has_predicted_can_be_copied_and_pickled(loaded: LoadedModel) -> None:
    expected = classify(loaded, TEXTS)
    for other in (copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert torch.equal(classify(other, TEXTS), expected)
        with torch.no_grad():
            for parameter in other.classifier.parameters():
                parameter.zero_()
        assert not classify(other, TEXTS).any()
        assert torch.equal(classify(loaded, TEXTS), expected)


def test_a_module_with_a_hook_or_a_forward_of_its_own_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].register_forward_hook(lambda *_: None)
    model[1].forward = own = lambda inputs: inputs
    products.install(model)
    assert "forward" not in vars(model[0])
    assert model[1].forward is own
    assert isinstance(model[2].forward, Product)
