"""Adapters in every family: the equivalences with them, their gradients, merging, taking out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import equivalences
import pytest
import torch
from equivalences import LABELS, TEXTS, classify, tolerance
from peft.tuners.lora import LoraLayer
from test_equivalences import CHECKS, load
from transformers.pytorch_utils import Conv1D

from families import FAMILIES, save_decoder
from lasttoken import BackboneError
from lasttoken.data.labels import LabelSpec
from lasttoken.model.blocks import find_blocks
from lasttoken.model.folder import LoadedModel, load_for_training
from lasttoken.model.lora import Adapters, LoraShape, adapters_learn, num_learning_weights

SHAPE = LoraShape(rank=4, alpha=8.0, dropout=0.0)
SCALE = 2.0


def stir(loaded: LoadedModel) -> None:
    """Draw B too, as if adapters had learned."""
    torch.manual_seed(3)
    for name, weight in loaded.classifier.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.2)


def layers(loaded: LoadedModel) -> dict[str, LoraLayer]:
    modules = loaded.classifier.hf_model.named_modules()
    return {name: module for name, module in modules if isinstance(module, LoraLayer)}


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(tmp_path_factory.mktemp("decoder") / "model", request.param)


@pytest.fixture
def adapters(loaded: LoadedModel) -> Iterator[Adapters]:
    with adapters_learn(loaded.classifier, SHAPE, seed=1) as adapters:
        stir(loaded)
        yield adapters


@pytest.mark.parametrize("number", CHECKS)
def test_equivalence_holds_with_adapters(
    loaded: LoadedModel, adapters: Adapters, number: str
) -> None:
    CHECKS[number](loaded)


@pytest.mark.parametrize("number", ["2", "3"])
def test_equivalence_holds_with_adapters_in_bf16_bit_for_bit(
    loaded: LoadedModel, adapters: Adapters, number: str
) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        CHECKS[number](loaded)


def test_adapters_stand_beside_every_matrix_of_the_blocks_and_learn_with_the_head(
    loaded: LoadedModel, adapters: Adapters
) -> None:
    classifier = loaded.classifier
    matrices = [
        module
        for module in find_blocks(classifier.hf_model).modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
    ]
    bases = [layer.get_base_layer() for layer in layers(loaded).values()]
    assert len(bases) >= 2 * 4
    small = 2 * len(bases)  # an A and a B each
    assert len(matrices) == len(bases) + small
    learning = {n for n, p in classifier.named_parameters() if p.requires_grad}
    assert {n for n in learning if "lora_" not in n} == {"hf_model.score.weight"}
    assert len(learning) == small + 1
    counted = sum(p.numel() for p in classifier.parameters() if p.requires_grad)
    adapters.take_out(merge=False)
    assert num_learning_weights(classifier, SHAPE.rank) == counted


def test_new_adapters_change_nothing(loaded: LoadedModel) -> None:
    before = classify(loaded, TEXTS)
    with adapters_learn(loaded.classifier, SHAPE, seed=1):
        assert (classify(loaded, TEXTS) - before).abs().max() <= tolerance(before)
        stir(loaded)
        assert (classify(loaded, TEXTS) - before).abs().max() > 0.1
    assert torch.equal(classify(loaded, TEXTS), before)


def test_the_seed_decides_what_adapters_start_from(loaded: LoadedModel) -> None:
    drawn = []
    for seed in (1, 1, 2):
        state = torch.get_rng_state()
        with adapters_learn(loaded.classifier, SHAPE, seed=seed):
            weights = loaded.classifier.state_dict()
            drawn.append(torch.cat([w.flatten() for n, w in weights.items() if "lora_A" in n]))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_taken_out_nothing_is_left_of_them(loaded: LoadedModel) -> None:
    model = loaded.classifier.hf_model
    weights = {name: w.clone() for name, w in model.state_dict().items()}
    forwards = {n: type(m.__dict__.get("forward")) for n, m in model.named_modules()}
    with (
        pytest.raises(RuntimeError, match="in the middle"),
        adapters_learn(loaded.classifier, SHAPE, seed=1),
    ):
        raise RuntimeError("in the middle")
    after = model.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], weights[name]) for name in weights)
    assert forwards == {n: type(m.__dict__.get("forward")) for n, m in model.named_modules()}
    assert all(p.requires_grad for p in loaded.classifier.parameters())
    assert not hasattr(model, "peft_config")


def gradients(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    return equivalences._gradient_of(loaded, [TEXTS])


def test_gradients_are_those_of_the_product_of_the_two_matrices(loaded: LoadedModel) -> None:
    """dB = scale dW A', dA = scale B' dW, with dW of the merged model: for each form of matrix."""
    small = {}
    with adapters_learn(loaded.classifier, SHAPE, seed=1):
        stir(loaded)
        found = gradients(loaded)
        for name, layer in layers(loaded).items():
            pair = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            base = layer.get_base_layer()
            small[name] = (*(w.detach().clone() for w in pair), isinstance(base, Conv1D))
        before = {n: w.clone() for n, w in loaded.classifier.hf_model.state_dict().items()}
    for name, (a, b, is_transposed) in small.items():
        weight = loaded.classifier.hf_model.get_submodule(name).weight
        product = SCALE * b @ a
        weight.data += product.T if is_transposed else product
    whole = gradients(loaded)
    for name, (a, b, is_transposed) in small.items():
        weight = loaded.classifier.hf_model.get_submodule(name).weight
        weight.data.copy_(before[f"{name}.base_layer.weight"])
        gradient = whole[f"hf_model.{name}.weight"]
        gradient = gradient.T if is_transposed else gradient
        largest = max(1.0, float(gradient.abs().max()) * SCALE)
        for part, expected in (("A", SCALE * b.T @ gradient), ("B", SCALE * gradient @ a.T)):
            own = found[f"hf_model.{name}.lora_{part}.default.weight"]
            assert (own - expected).abs().max() <= 1e-4 * largest, (name, part)
    head = whole["hf_model.score.weight"]
    difference = (found["hf_model.score.weight"] - head).abs().max()
    assert difference <= 1e-5 * max(1.0, float(head.abs().max()))


# A form of matrix and of block each; the others in the slow suite.
QUICK = ("gpt2", "gpt_neox", "gemma2")


@pytest.mark.parametrize(
    "family",
    [pytest.param(f, marks=() if f in QUICK else pytest.mark.slow) for f in FAMILIES],
)
def test_merged_weights_are_a_plain_model_with_the_same_logits(family: str, tmp_path: Path) -> None:
    loaded = load(tmp_path / "decoder", family)
    names = set(loaded.classifier.state_dict())
    with adapters_learn(loaded.classifier, SHAPE, seed=1) as adapters:
        stir(loaded)
        apart = classify(loaded, TEXTS)
        adapter = adapters.merge()
    assert set(loaded.classifier.state_dict()) == names
    assert all(p.requires_grad for p in loaded.classifier.parameters())
    assert (classify(loaded, TEXTS) - apart).abs().max() <= tolerance(apart)
    assert not any("default" in name for name in adapter.weights)
    equivalences.packed_equals_alone_and_padded(loaded)
    equivalences.saved_folder_is_the_same_classifier(loaded, tmp_path / "saved")


def test_blocks_without_a_plain_matrix_are_refused(tmp_path: Path) -> None:
    loaded = load_for_training(save_decoder(tmp_path / "m", "llama"), LabelSpec(LABELS), seed=1)
    for module in find_blocks(loaded.classifier.hf_model).modules():
        if isinstance(module, torch.nn.Linear):
            module.__class__ = type("Quantized", (torch.nn.Linear,), {})
    with (
        pytest.raises(BackboneError, match="'llama' hold no plain matrix") as caught,
        adapters_learn(loaded.classifier, SHAPE, seed=1),
    ):
        pass
    assert caught.value.remedy == "--trainable full, or last-K"
