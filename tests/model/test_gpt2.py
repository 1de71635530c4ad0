"""GPT-2's blocks in fewer calls equal the family's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from equivalences import LABELS, TEXTS, _gradient_of, classify, tolerance
from test_equivalences import load

from families import FAMILIES, save_decoder
from lasttoken.data.labels import LabelSpec
from lasttoken.events import Event, Note
from lasttoken.model import gpt2
from lasttoken.model.blocks import find_blocks
from lasttoken.model.folder import LoadedModel, load_for_training
from lasttoken.model.gpt2 import ShortBlock
from lasttoken.model.last_block import LastBlock
from lasttoken.training.preparation import tell_reading_path

GPT2_FAMILIES = [family for family in FAMILIES if "gpt2" in family]


@pytest.fixture(params=GPT2_FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> LoadedModel:
    return load(tmp_path / "model", request.param)


def use_the_familys_own(loaded: LoadedModel) -> None:
    blocks = find_blocks(loaded.classifier.hf_model)
    gpt2.remove(loaded.classifier.hf_model)
    blocks[-1].forward = LastBlock(_own(blocks[-1]))


def _own(block: torch.nn.Module) -> torch.nn.Module:
    del block.forward
    return block


def test_only_gpt2_has_them() -> None:
    assert GPT2_FAMILIES
    assert len(GPT2_FAMILIES) < len(FAMILIES)


def test_they_stand_in_for_all_blocks_of_gpt2(loaded: LoadedModel) -> None:
    *others, last = find_blocks(loaded.classifier.hf_model)
    assert all(isinstance(block.forward, ShortBlock) for block in others)
    assert isinstance(last.forward, LastBlock)
    assert isinstance(last.forward._whole, ShortBlock)


def test_logits_equal_those_of_the_familys_own_blocks(loaded: LoadedModel) -> None:
    short = classify(loaded, TEXTS)
    use_the_familys_own(loaded)
    own = classify(loaded, TEXTS)
    assert not torch.equal(short, torch.zeros_like(short))
    assert (short - own).abs().max() <= tolerance(own)


def test_gradients_in_evaluation_mode_equal_those_of_the_familys_own(loaded: LoadedModel) -> None:
    short = _gradient_of(loaded, [TEXTS])
    use_the_familys_own(loaded)
    own = _gradient_of(loaded, [TEXTS])
    largest = max(float(gradient.abs().max()) for gradient in own.values())
    for name, gradient in own.items():
        assert (short[name] - gradient).abs().max() <= 1e-5 * max(1.0, largest), name


def test_training_drops_as_the_family_does(tmp_path: Path) -> None:
    folder = save_decoder(tmp_path / "model", "gpt2", resid_pdrop=0.5, attn_pdrop=0.5)
    loaded = load_for_training(folder, LabelSpec(LABELS), seed=1)
    loaded.classifier.train()
    ids = torch.arange(20)[None]
    inputs = {"position_ids": ids, "cu_seqlens": torch.tensor([0, 20], dtype=torch.int32)}
    with torch.no_grad():
        torch.manual_seed(1)
        short = loaded.classifier(ids, **inputs).logits
        use_the_familys_own(loaded)
        torch.manual_seed(1)
        own = loaded.classifier(ids, **inputs).logits
        loaded.classifier.eval()
        without = loaded.classifier(ids, **inputs).logits
    assert torch.equal(short, own)
    assert not torch.allclose(short, without)


def test_blocks_that_would_differ_are_left_alone_and_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpt2, "_norm", lambda _norm, inputs: inputs)
    loaded = load_for_training(save_decoder(tmp_path / "model"), LabelSpec(LABELS), seed=1)
    assert loaded.classifier.proof.path == "packed"
    reason = "they differ from the family's own"
    assert loaded.classifier.proof.long_blocks_reason == reason
    assert not any(
        isinstance(block.forward, ShortBlock) for block in find_blocks(loaded.classifier.hf_model)
    )
    events: list[Event] = []
    tell_reading_path(loaded, events.append)
    assert events == [Note(f"blocks are not computed in fewer calls: {reason}")]


def test_a_model_that_is_cut_gets_them_again(loaded: LoadedModel) -> None:
    loaded.classifier.cut(1)
    (only,) = find_blocks(loaded.classifier.hf_model)
    assert isinstance(only.forward, LastBlock)
    assert isinstance(only.forward._whole, ShortBlock)
    assert loaded.classifier.proof.path == "packed"
