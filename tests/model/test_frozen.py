"""Cut models, frozen blocks and their cached output, over every family."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equivalences
import numpy as np
import pytest
import torch
from equivalences import LABELS, TEXTS, classify, tolerance
from test_equivalences import load
from transformers import BloomConfig, BloomForCausalLM

from families import FAMILIES, byte_tokenizer, read_as
from lasttoken import BackboneError
from lasttoken.data.labels import LabelSpec
from lasttoken.model.batch import Gpt2ClassificationCollator
from lasttoken.model.blocks import cut_blocks, find_blocks, replaced_forwards
from lasttoken.model.folder import LoadedModel, load_for_training
from lasttoken.model.frozen import apply_tail, frozen_but_last, tail_modules
from lasttoken.model.last_block import LastBlock
from lasttoken.model.tokens import tokenize
from lasttoken.training.features import features_shape, fill_features

CPU = torch.device("cpu")


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def loaded(family: str, tmp_path: Path) -> LoadedModel:
    return load(tmp_path / "decoder", family)


@pytest.fixture
def padded(tmp_path: Path) -> LoadedModel:
    """A family with tuples for block outputs that cannot be packed."""
    config = BloomConfig(vocab_size=260, hidden_size=32, n_layer=3, n_head=4, eos_token_id=256)
    torch.manual_seed(0)
    BloomForCausalLM(config).save_pretrained(tmp_path / "bloom")
    byte_tokenizer().save_pretrained(tmp_path / "bloom")
    loaded = load_for_training(tmp_path / "bloom", LabelSpec(LABELS), seed=1)
    assert loaded.classifier.proof.path == "padded"
    return loaded


def features_of(loaded: LoadedModel) -> np.ndarray:
    texts = tokenize(loaded.tokenizer, TEXTS, loaded.record.reading)
    features = np.zeros(features_shape(loaded.classifier, len(TEXTS)), dtype=np.float32)
    fill_features(features, loaded.classifier, texts, device=CPU, precision="fp32")
    return features


def head_on(loaded: LoadedModel, states: np.ndarray) -> torch.Tensor:
    return loaded.classifier._head(torch.from_numpy(states)).detach()


def test_a_cut_model_is_an_ordinary_model_folder(loaded: LoadedModel, tmp_path: Path) -> None:
    whole = classify(loaded, TEXTS)
    loaded.classifier.cut(1)
    assert len(find_blocks(loaded.classifier.hf_model)) == 1
    assert loaded.classifier.hf_model.config.num_hidden_layers == 1
    assert not torch.equal(classify(loaded, TEXTS), whole)
    equivalences.packed_equals_alone_and_padded(loaded)
    equivalences.saved_folder_is_the_same_classifier(loaded, tmp_path / "cut")


def test_the_last_block_of_a_cut_model_is_computed_for_the_tokens_read(
    loaded: LoadedModel,
) -> None:
    assert loaded.classifier.proof.whole_block_reason == ""
    loaded.classifier.cut(1)
    assert loaded.classifier.proof.whole_block_reason == ""
    assert isinstance(find_blocks(loaded.classifier.hf_model)[-1].forward, LastBlock)


def test_a_cut_at_full_depth_changes_nothing(loaded: LoadedModel) -> None:
    before = loaded.classifier.hf_model.config.to_dict()
    cut_blocks(loaded.classifier.hf_model, 2)
    assert loaded.classifier.hf_model.config.to_dict() == before


def test_a_configuration_that_cannot_describe_fewer_blocks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(tmp_path / "decoder", "gpt2").classifier.hf_model
    monkeypatch.setattr(
        type(model.config), "from_dict", lambda content: type(model.config)(n_layer=2)
    )
    with pytest.raises(BackboneError, match=r"--depth 1: .* still describes 2 blocks"):
        cut_blocks(model, 1)
    assert len(find_blocks(model)) == 2


@pytest.mark.parametrize(
    "reading",
    [
        {},
        {"template": "Is this review good? {text} So?"},
        {"long": "windows", "max_length": 40, "template": "Good? {text}"},
    ],
    ids=str,
)
def test_the_features_are_what_the_head_of_each_cut_model_reads(
    loaded: LoadedModel, reading: dict[str, Any]
) -> None:
    loaded = read_as(loaded, **reading)
    features = features_of(loaded)
    for depth in (2, 1):
        loaded.classifier.cut(depth)
        logits = classify(loaded, TEXTS)
        found = head_on(loaded, features[depth - 1])
        assert (found - logits).abs().max() <= tolerance(logits), depth


def test_the_features_of_a_padded_family_are_right_too(padded: LoadedModel) -> None:
    features = features_of(padded)
    for depth in (3, 2, 1):
        padded.classifier.cut(depth)
        logits = classify(padded, TEXTS)
        assert (head_on(padded, features[depth - 1]) - logits).abs().max() <= tolerance(logits)


def test_the_tail_is_the_final_norm_and_the_head(loaded: LoadedModel) -> None:
    norm, head = tail_modules(loaded.classifier)
    assert head is loaded.classifier.hf_model.score
    assert "Norm" in type(norm).__name__
    states = torch.randn(5, 64)
    with torch.no_grad():
        assert torch.equal(apply_tail(loaded.classifier, states), norm(states))


def test_frozen_modules_have_no_gradient_and_no_dropout(loaded: LoadedModel) -> None:
    classifier = loaded.classifier
    last = find_blocks(classifier.hf_model)[-1]
    norm, head = tail_modules(classifier)
    trained = {id(p) for module in (last, norm, head) for p in module.parameters()}
    with frozen_but_last(classifier, 1):
        classifier.train()
        learning = {id(p) for p in classifier.parameters() if p.requires_grad}
        assert learning == trained
        assert all(module.training for module in last.modules())
        assert not any(m.training for m in find_blocks(classifier.hf_model)[0].modules())
    classifier.train()
    assert all(module.training for module in classifier.modules())
    assert all(p.requires_grad for p in classifier.parameters())


def test_replaced_forwards_come_off_again_in_any_order_of_wrapping() -> None:
    block = torch.nn.Linear(2, 2)
    block.forward = mine = lambda x: x + 1  # another's replacement
    with replaced_forwards([block], lambda forward: lambda x: forward(x) * 2):
        assert block(torch.zeros(1)).item() == 2
    assert block.forward is mine
    del block.forward
    with pytest.raises(ValueError, match="inside"), replaced_forwards([block], lambda f: f):
        raise ValueError("inside")
    assert "forward" not in block.__dict__


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def collator_of(loaded: LoadedModel) -> Gpt2ClassificationCollator:
    return Gpt2ClassificationCollator(loaded.tokenizer, loaded.classifier.labels, 400)
