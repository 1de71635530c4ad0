"""`layer_decay`: rates fall from the head down, in every family and whatever learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from equivalences import LABELS
from test_training import LABELS as TEXT_LABELS
from test_training import TEXTS

from families import FAMILIES, save_decoder
from lasttoken import TextClassifier
from lasttoken.data.labels import LabelSpec
from lasttoken.model.classifier import Classifier
from lasttoken.model.embedding import seen_tokens_only
from lasttoken.model.folder import load_for_training
from lasttoken.model.lora import LoraShape, adapters_learn
from lasttoken.training.optim import make_optimizer, make_schedule, rate_at

ABOVE = ("score.", "ln_f", "final_layer_norm", "final_layernorm", "model.norm")  # of all families


def rates(classifier: Classifier) -> dict[str, float]:
    """Rate of each weight by name, where the head's is 1 and the factor a half."""
    optimizer = make_optimizer(classifier, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    names = {id(p): n for n, p in classifier.named_parameters()}
    held = {names[id(p)]: g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert held.keys() == {n for n, p in classifier.named_parameters() if p.requires_grad}
    schedule = make_schedule(optimizer, num_steps=2)
    assert (rate_at(schedule, 0), rate_at(schedule, 1)) == (1.0, 0.5)  # what the history tells
    return held


def expected_rate(name: str) -> float:
    if ".0." in name or ".1." in name:
        return 0.25 if ".0." in name else 0.5
    return 1.0 if any(part in name for part in ABOVE) else 0.125


@pytest.mark.parametrize("family", FAMILIES)
def test_each_block_has_the_rate_of_the_one_above_times_the_factor(
    family: str, tmp_path: Path
) -> None:
    loaded = load_for_training(save_decoder(tmp_path / "m", family), LabelSpec(LABELS), seed=1)
    classifier = loaded.classifier
    found = rates(classifier)
    assert found == {name: expected_rate(name) for name in found}
    assert set(found.values()) == {1.0, 0.5, 0.25, 0.125}
    with seen_tokens_only(classifier.hf_model, np.arange(0, 100, 3)):
        assert rates(classifier) == {
            name.replace("wte.", "wte.rows.").replace("embed_tokens.", "embed_tokens.rows.")
            .replace("embed_in.", "embed_in.rows."): rate for name, rate in found.items()
        }  # fmt: skip
    with adapters_learn(classifier, LoraShape(2, 4.0, 0.0), seed=1):
        adapted = rates(classifier)
        assert adapted == {name: expected_rate(name) for name in adapted}
        assert set(adapted.values()) == {1.0, 0.5, 0.25}


def test_the_first_step_moves_each_block_by_its_rate(tmp_path: Path) -> None:
    """AdamW's first step is its rate, whatever the gradient."""
    folder = save_decoder(tmp_path / "m", resid_pdrop=0.0, attn_pdrop=0.0, embd_pdrop=0.0)
    moved = {}
    for decay in (1.0, 0.5):
        settings = {"num_epochs": 1, "batch_size": 100, "precision": "fp32", "learning_rate": 1e-3}
        classifier = TextClassifier(str(folder), **settings, layer_decay=decay)
        before = load_for_training(folder, LabelSpec(("bad", "good")), seed=123).classifier
        after = classifier.fit(TEXTS, TEXT_LABELS).loaded_.classifier.state_dict()
        for block in ("h.0.", "h.1."):
            difference = (
                after[f"hf_model.transformer.{block}mlp.c_fc.weight"]
                - before.state_dict()[f"hf_model.transformer.{block}mlp.c_fc.weight"]
            )
            moved[decay, block] = float(difference.abs().median())
    assert moved == pytest.approx(
        {(1.0, "h.0."): 1e-3, (1.0, "h.1."): 1e-3, (0.5, "h.0."): 2.5e-4, (0.5, "h.1."): 5e-4},
        rel=1e-2,
    )


def test_without_decay_nothing_changes(tmp_path: Path) -> None:
    loaded = load_for_training(save_decoder(tmp_path / "m"), LabelSpec(LABELS), seed=1)
    optimizer = make_optimizer(loaded.classifier, learning_rate=1.0, weight_decay=0.1)
    shapes = [[p.ndim >= 2 for p in group["params"]] for group in optimizer.param_groups]
    assert [set(group) for group in shapes] == [{True}, {False}]
    assert all(isinstance(p, torch.Tensor) for p in optimizer.param_groups[0]["params"])
