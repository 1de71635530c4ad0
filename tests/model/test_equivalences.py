"""The ten equivalences over every family (6, 7 and 9 belong to parts that do not exist yet)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import equivalences
import pytest
import torch
from equivalences import LABELS, TEXTS, classify

from families import FAMILIES, save_decoder
from lasttoken.data.labels import LabelSpec
from lasttoken.model import classifier as classifier_module
from lasttoken.model.folder import LoadedModel, load_for_training
from lasttoken.model.packing import Packing

CHECKS = {
    "1": equivalences.packed_equals_alone_and_padded,
    "2": equivalences.neighbors_change_nothing,
    "3": equivalences.order_is_kept,
    "4": equivalences.gradients_add_up,
    "5": equivalences.accumulated_batches_equal_a_large_one,
    "10": equivalences.texts_are_read_at_their_true_end,
}


def load(folder: Path, family: str) -> LoadedModel:
    """A decoder of a family with a head whose logits differ clearly between texts; no dropout."""
    loaded = load_for_training(save_decoder(folder, family), LabelSpec(LABELS), seed=1)
    for module in loaded.classifier.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    loaded.classifier.hf_model.score.weight.data.mul_(3)
    # Attention dropout is read off the configuration by some families, off modules by others.
    for block in loaded.classifier.modules():
        for name in ("attention_dropout", "dropout"):
            if isinstance(getattr(block, name, None), float):
                setattr(block, name, 0.0)
    return loaded


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(tmp_path_factory.mktemp("decoder") / "model", request.param)


def test_every_listed_family_is_read_packed(loaded: LoadedModel) -> None:
    assert loaded.classifier.proof.path == "packed", loaded.classifier.proof.reason
    assert not loaded.classifier.proof.whole_block_reason


def test_logits_differ_by_more_than_1_between_texts(loaded: LoadedModel) -> None:
    logits = classify(loaded, TEXTS)
    assert (logits.max(0).values - logits.min(0).values).max() > 1


@pytest.mark.parametrize("number", CHECKS)
def test_equivalence_holds(loaded: LoadedModel, number: str) -> None:
    CHECKS[number](loaded)


@pytest.mark.parametrize("number", ["2", "3"])
def test_equivalence_holds_in_bf16_bit_for_bit(loaded: LoadedModel, number: str) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        CHECKS[number](loaded)


def test_packed_equals_alone_in_bf16_bit_for_bit(loaded: LoadedModel) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        alone = torch.cat([classify(loaded, [text]) for text in TEXTS])
        assert torch.equal(classify(loaded, TEXTS), alone)


def test_a_saved_folder_is_the_same_classifier_everywhere(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    equivalences.saved_folder_is_the_same_classifier(loaded, tmp_path / "model")


@pytest.fixture(params=["positions", "pooling", "leak"])
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Break one thing in a way that depends on a text's place in its batch."""
    breaks: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
        "positions": _shift_positions,
        "pooling": _pool_one_token_late,
        "leak": _let_neighbors_see_each_other,
    }
    breaks[request.param](monkeypatch)
    return request.param


@pytest.fixture(scope="module", params=FAMILIES)
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(tmp_path_factory.mktemp("decoder") / "model", request.param)


@pytest.mark.parametrize("number", CHECKS)
def test_each_check_finds_each_mistake(sound: LoadedModel, broken: str, number: str) -> None:
    with pytest.raises(AssertionError):
        CHECKS[number](sound)


def test_the_folder_check_finds_each_mistake(
    sound: LoadedModel, broken: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError):
        equivalences.saved_folder_is_the_same_classifier(sound, tmp_path / "model")


def _shift_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shift the last three tokens of every text behind the first by one position.

    Not all of them, because a rotary family does not notice when a whole text shifts alike; and
    the last, because a window of seven sees no further back.
    """
    as_packed = classifier_module._as_packed

    def shifted(*args: object) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        input_ids, position_ids, cu_seqlens = as_packed(*args)
        position_ids = position_ids.clone()
        ends = cu_seqlens.tolist()
        for start, end in pairwise(ends[1:]):
            position_ids[0, max(start, end - 3) : end] += 1
        return input_ids, position_ids, cu_seqlens

    monkeypatch.setattr(classifier_module, "_as_packed", shifted)


def _pool_one_token_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the first token of the next text; the last text is read one token early."""
    last_tokens = classifier_module.last_tokens

    def late(cu_seqlens: torch.Tensor) -> torch.Tensor:
        places = last_tokens(cu_seqlens) + 1
        places[-1] -= 2
        return places.clamp(min=0)

    monkeypatch.setattr(classifier_module, "last_tokens", late)


def _let_neighbors_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget every second boundary between texts."""
    from_cu_seqlens = Packing.from_cu_seqlens

    def leaky(cu_seqlens: torch.Tensor, *args: object, **kwargs: object) -> Packing:
        kept = torch.cat([cu_seqlens[:-1:2], cu_seqlens[-1:]])
        return from_cu_seqlens(kept, *args, **kwargs)

    monkeypatch.setattr(Packing, "from_cu_seqlens", staticmethod(leaky))
