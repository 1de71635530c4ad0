"""The equivalences with the targets and heads of every kind of task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equivalences
import pytest
import torch
from test_equivalences import CHECKS as EVERY_CHECK

from families import save_decoder
from lasttoken.data.labels import LabelSpec
from lasttoken.data.losses import IGNORED_LABEL
from lasttoken.model import classifier as classifier_module
from lasttoken.model.folder import LoadedModel, load_for_training
from lasttoken.training.loop import train
from lasttoken.training.passes import PassResult

# What the texts of the checks are labeled with, in turn.
LABELS = {
    "multi_label": ("bad|good", "", "so-so"),
    "ordinal": ("1", "2", "10"),
    "regression": ("1.5", "-20", "0.25"),
}
CHECKS = {number: check for number, check in EVERY_CHECK.items() if number != "10"}  # no labels


@pytest.fixture(scope="module", params=LABELS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A tiny GPT-2 with the head of a task; no dropout."""
    folder = save_decoder(
        tmp_path_factory.mktemp("m") / "gpt2", resid_pdrop=0.0, attn_pdrop=0.0, embd_pdrop=0.0
    )
    spec = LabelSpec.from_labels(LABELS[request.param], request.param)
    loaded = load_for_training(folder, spec, seed=1)
    loaded.classifier.hf_model.score.weight.data.mul_(3)
    return loaded


@pytest.fixture(autouse=True)
def labels_of_the_task(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equivalences, "LABELS", LABELS[loaded.classifier.labels.kind])


@pytest.mark.parametrize("number", CHECKS)
def test_equivalence_holds(loaded: LoadedModel, number: str) -> None:
    CHECKS[number](loaded)


def test_a_saved_folder_is_the_same_model_everywhere(loaded: LoadedModel, tmp_path: Path) -> None:
    loaded.classifier.labels = LabelSpec(
        loaded.classifier.labels.labels, loaded.classifier.labels.kind
    )
    equivalences.saved_folder_is_the_same_classifier(loaded, tmp_path / "model")


@pytest.mark.parametrize("number", CHECKS)
def test_each_check_finds_a_text_that_is_read_one_token_late(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    monkeypatch.setattr(classifier_module, "last_tokens", _one_token_late)
    with pytest.raises(AssertionError):
        CHECKS[number](loaded)


def test_a_place_that_is_only_filled_changes_no_step_and_no_result(loaded: LoadedModel) -> None:
    batches = equivalences._labeled_batches(loaded, 4)
    weights = {name: t.clone() for name, t in loaded.classifier.state_dict().items()}
    filled = [dict(batch) for batch in batches]
    for batch in filled[1:]:
        batch["labels"] = batch["labels"].clone()
        batch["labels"][3] = IGNORED_LABEL
    fewer = equivalences._labeled_batches(loaded, 7)[:1]  # the very examples that count
    results: list[tuple[PassResult, dict[str, Any]]] = []
    for given in (filled, fewer):
        loaded.classifier.load_state_dict(weights)
        optimizer = torch.optim.SGD(loaded.classifier.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
        result = train(loaded.classifier, given, optimizer, schedule, "cpu",
                       gradient_accumulation_steps=2, max_grad_norm=1e9)  # fmt: skip
        state = {name: t.clone() for name, t in loaded.classifier.state_dict().items()}
        results.append((result, state))
    loaded.classifier.load_state_dict(weights)
    loaded.classifier.eval()
    (with_filled, after_filled), (without, after) = results
    assert with_filled.true_labels == without.true_labels
    assert len(with_filled.true_labels) == 7
    assert with_filled.loss == pytest.approx(without.loss, rel=1e-5)
    largest = max(float((after[name] - weights[name]).abs().max()) for name in weights)
    for name, tensor in after.items():
        assert (tensor - after_filled[name]).abs().max() <= 1e-4 * largest, name


def _one_token_late(cu_seqlens: torch.Tensor) -> torch.Tensor:
    """The last token of every text but the first is read one token early."""
    last = cu_seqlens[1:].to(torch.int64) - 1
    last[1:] -= (cu_seqlens.diff()[1:] > 1).to(torch.int64)
    return last
