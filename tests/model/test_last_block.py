"""The last block for the tokens that are read equals the whole block, forward and backward."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from equivalences import LABELS, TEXTS, _gradient_of, classify, tolerance
from test_equivalences import load

from families import FAMILIES, save_decoder
from lasttoken.data.labels import LabelSpec
from lasttoken.model import last_block
from lasttoken.model.blocks import find_blocks
from lasttoken.model.folder import LoadedModel, load_for_training
from lasttoken.model.last_block import LastBlock


@pytest.fixture(params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> LoadedModel:
    return load(tmp_path / "model", request.param)


def standing_in(loaded: LoadedModel) -> LastBlock:
    stand_in = find_blocks(loaded.classifier.hf_model)[-1].forward
    assert isinstance(stand_in, LastBlock)
    return stand_in


def test_logits_equal_those_of_the_whole_block(loaded: LoadedModel) -> None:
    short = classify(loaded, TEXTS)
    standing_in(loaded).remove()
    whole = classify(loaded, TEXTS)
    assert (short - whole).abs().max() <= tolerance(whole)


def test_gradients_equal_those_of_the_whole_block(loaded: LoadedModel) -> None:
    short = _gradient_of(loaded, [TEXTS])
    standing_in(loaded).remove()
    whole = _gradient_of(loaded, [TEXTS])
    assert short.keys() == whole.keys()
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    for name, gradient in whole.items():
        assert (short[name] - gradient).abs().max() <= 1e-5 * max(1.0, largest), name


def test_every_blocks_last_token_state_is_unchanged(loaded: LoadedModel) -> None:
    collator_inputs = {"input_ids": torch.arange(40)[None], "position_ids": torch.arange(40)[None]}
    inputs = {**collator_inputs, "cu_seqlens": torch.tensor([0, 40], dtype=torch.int32)}
    with torch.no_grad():
        short = loaded.classifier.last_token_states(**inputs)
        standing_in(loaded).remove()
        whole = loaded.classifier.last_token_states(**inputs)
    assert (short - whole).abs().max() <= tolerance(whole)


def test_the_weights_keep_their_names(loaded: LoadedModel) -> None:
    names = set(loaded.classifier.hf_model.state_dict())
    standing_in(loaded).remove()
    assert set(loaded.classifier.hf_model.state_dict()) == names


def test_a_block_that_would_differ_is_computed_whole_and_the_reason_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        last_block, "visible", lambda query, key, window: (key <= query) & (key > 0)
    )
    loaded = load_for_training(save_decoder(tmp_path / "model"), LabelSpec(LABELS), seed=1)
    assert loaded.classifier.proof.path == "packed"
    assert loaded.classifier.proof.whole_block_reason == "it differs from the whole block"
    assert not isinstance(find_blocks(loaded.classifier.hf_model)[-1].forward, LastBlock)
