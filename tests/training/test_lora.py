"""`trainable="lora"`: what is trained, what is saved, and that all readers of it agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_less_compute import bloom, prepared_for  # noqa: F401 - a fixture
from test_training import LABELS, TEXTS

from conftest import FAST, Command, write_reviews
from families import save_decoder
from lasttoken import ConfigError, RunError, TextClassifier
from lasttoken.events import Event, Note
from lasttoken.inference.prediction import predict_logits
from lasttoken.model.blocks import find_blocks
from lasttoken.training import fit as fit_module
from lasttoken.training.checkpoint import CheckpointFolder
from lasttoken.training.fit import fit
from lasttoken.training.saver import CheckpointSettings

SETTINGS: dict[str, Any] = {
    "num_epochs": 2, "batch_size": 8, "learning_rate": 4e-3, "precision": "fp32",
    "trainable": "lora", "lora_rank": 4, "lora_dropout": 0.1,
}  # fmt: skip
LONGER = {**SETTINGS, "num_epochs": 12, "depth": 2}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("m") / "gpt2"
    return str(save_decoder(folder, initializer_range=0.1, n_layer=3))


@pytest.fixture(scope="module")
def trained(decoder: str) -> TextClassifier:
    """Cut at two blocks of three."""
    return TextClassifier(decoder, **LONGER).fit(TEXTS, LABELS)


def weights(classifier: TextClassifier) -> dict[str, torch.Tensor]:
    return classifier.loaded_.classifier.state_dict()


def test_it_learns_an_easy_task(trained: TextClassifier) -> None:
    first, *_, last = trained.history_
    assert last.train_loss < first.train_loss / 2
    assert max(row.validation_accuracy for row in trained.history_) == 1.0
    extent = trained.extent_
    assert (extent.depth, extent.num_blocks, extent.starting_head) == (2, 3, "fitted")
    assert extent.num_trainable_weights == sum(
        w.numel() for w in trained.adapter_.weights.values()
    ) + weights(trained)["hf_model.score.weight"].numel()  # fmt: skip
    assert extent.num_trainable_weights < extent.num_weights / 5


def test_the_blocks_matrices_and_the_head_change_and_nothing_else(
    decoder: str, trained: TextClassifier
) -> None:
    before = prepared_for(decoder, depth=2).loaded.classifier.state_dict()
    after = weights(trained)
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    matrices = {n for n, w in before.items() if ".h." in n and w.ndim == 2}
    assert changed == {*matrices, "hf_model.score.weight"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_repeats_bit_for_bit_with_dropout(decoder: str, precision: str) -> None:
    more = {"precision": precision, "layer_decay": 0.8, "gradient_checkpointing": True}
    runs = []
    for seed in (5, 999):
        torch.manual_seed(seed)  # whatever the global generator was before
        runs.append(TextClassifier(decoder, **{**SETTINGS, **more}).fit(TEXTS, LABELS))
    first, second = map(weights, runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_checkpointed_gradients_train_the_same_model_bit_for_bit(
    decoder: str, trained: TextClassifier
) -> None:
    again = TextClassifier(decoder, **LONGER, gradient_checkpointing=True)
    first, second = weights(trained), weights(again.fit(TEXTS, LABELS))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_was_validated_is_what_predicts(decoder: str, precision: str) -> None:
    prepared = prepared_for(decoder, **{**SETTINGS, "precision": precision})
    result = fit(prepared)
    again = predict_logits(
        prepared.loaded.classifier,
        prepared.validating.texts,
        device=torch.device("cpu"),
        precision=precision,
    )
    assert np.array_equal(result.validation_logits, again)


# The model folder by our own loader; the lines of the adapter's README, then plain transformers.
FRESH = """
import json, sys, torch
from transformers import AutoTokenizer
from lasttoken import TextClassifier
texts = json.load(sys.stdin)
ours = TextClassifier.from_pretrained(sys.argv[1], precision="fp32").predict_proba(texts)
{lines}
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model.eval()
with torch.no_grad():
    logits = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in texts]
print(json.dumps([ours.tolist(), [logit.softmax(-1).tolist() for logit in logits]]))
"""


@pytest.mark.slow
def test_in_a_fresh_process_saved_model_and_adapter_predict_the_same(
    trained: TextClassifier, tmp_path: Path
) -> None:
    trained.save_pretrained(tmp_path / "model")
    trained.save_adapter(tmp_path / "adapter")
    readme = (tmp_path / "adapter" / "README.md").read_text()
    assert "'bad', 'good'" in readme
    lines = readme.split("```python\n")[1].split("```")[0]
    result = subprocess.run(
        [sys.executable, "-c", FRESH.format(lines=lines), str(tmp_path / "model")],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    ours, plain = np.array(json.loads(result.stdout.splitlines()[-1]))
    expected = trained.predict_proba(TEXTS)
    assert np.array_equal(ours, expected)
    assert np.abs(plain - expected).max() <= 1e-5


TASKS: dict[str, list[Any]] = {
    "multi-label": [["dull"] * (label == "bad") + ["long"] * (n % 3 == 0)
                    for n, label in enumerate(LABELS)],
    "ordinal": [1 + (label == "good") + (n % 2) for n, label in enumerate(LABELS)],
    "regression": [10.0 * (label == "good") + n % 4 for n, label in enumerate(LABELS)],
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_learned_by_adapters_and_saved(
    decoder: str, task: str, tmp_path: Path
) -> None:
    classifier = TextClassifier(decoder, **SETTINGS, task=task).fit(TEXTS, TASKS[task])
    classifier.save_pretrained(tmp_path / "model")
    classifier.save_adapter(tmp_path / "adapter")
    again = TextClassifier.from_pretrained(tmp_path / "model", precision="fp32")
    assert list(again.predict(TEXTS)) == list(classifier.predict(TEXTS))
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    head = weights(again)["hf_model.score.weight"]
    assert torch.equal(saved["base_model.model.score.weight"], head)


def test_the_adapters_folder_holds_the_trained_head_and_small_matrices_only(
    decoder: str, trained: TextClassifier, tmp_path: Path
) -> None:
    trained.save_adapter(tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors"
    }  # fmt: skip
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    head = saved.pop("base_model.model.score.weight")
    assert torch.equal(head, weights(trained)["hf_model.score.weight"])
    assert len(saved) == 2 * 2 * 4  # A and B of four matrices in two blocks
    assert all(min(w.shape) == 4 for w in saved.values())
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["modules_to_save"] == ["score"]
    assert (config["r"], config["lora_alpha"], config["task_type"]) == (4, 32.0, "SEQ_CLS")
    with pytest.raises(RunError, match="already there and not empty"):
        trained.save_adapter(tmp_path / "adapter")


def test_a_classifier_without_an_adapter_says_so(trained: TextClassifier, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path / "model")
    again = TextClassifier.from_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError) as caught:
        again.save_adapter(tmp_path / "adapter")
    assert caught.value.found == "save_adapter: this classifier has no adapter"
    assert caught.value.remedy.startswith('TextClassifier(trainable="lora").fit(')


def test_a_checkpoint_holds_adapters_and_head_only(decoder: str, tmp_path: Path) -> None:
    prepared = prepared_for(decoder, **SETTINGS)
    fit(prepared, checkpoints=CheckpointSettings(tmp_path / "c", None, None))
    checkpoint = CheckpointFolder(tmp_path / "c").load()
    names = set(checkpoint.weights)
    assert {name for name in names if "lora_" not in name} == {"hf_model.score.weight"}
    assert len(names) == 3 * 4 * 2 + 1
    assert len(checkpoint.optimizer["exp_avg"]) == len(names)


def test_a_failure_in_training_leaves_the_model_without_adapters(
    decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepared_for(decoder, **SETTINGS, gradient_checkpointing=True)
    classifier = prepared.loaded.classifier
    before = {name: w.clone() for name, w in classifier.state_dict().items()}
    forwards = [block.forward for block in find_blocks(classifier.hf_model)]

    def fail(*_: object, **__: object) -> None:
        assert any("lora_" in name for name, _ in classifier.named_parameters())
        raise RuntimeError("in the middle")

    monkeypatch.setattr(fit_module, "train", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        fit(prepared)
    after = classifier.state_dict()
    assert after.keys() == before.keys()
    del before["hf_model.score.weight"]  # fitted before the first step
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert forwards == [block.forward for block in find_blocks(classifier.hf_model)]
    assert all(p.requires_grad for p in classifier.parameters())


def test_a_padded_family_has_adapters_too(bloom: str) -> None:  # noqa: F811
    classifier = TextClassifier(bloom, **SETTINGS).fit(TEXTS, LABELS)
    assert classifier.history_[1].train_loss < classifier.history_[0].train_loss
    assert classifier.adapter_.weights


def test_a_small_learning_rate_is_told(decoder: str) -> None:
    told = {}
    for rate in (5e-5, 5e-4):
        events: list[Event] = []
        classifier = TextClassifier(decoder, **{**SETTINGS, "learning_rate": rate, "num_epochs": 1})
        classifier.fit(TEXTS, LABELS, on_event=events.append)
        told[rate] = [e.text for e in events if isinstance(e, Note) and "adapters" in e.text]
    assert told == {
        5e-5: [
            "learning rate 5e-05: adapters usually want ten times the rate of full training; "
            "try --learning-rate 5e-4"
        ],
        5e-4: [],
    }


def test_a_run_keeps_the_adapter_beside_the_model(
    lasttoken: Command, tiny_gpt2: Path, tmp_path: Path, without_plots: None
) -> None:
    data = write_reviews(tmp_path / "reviews.csv")
    words = ("train", data, "--model", tiny_gpt2, "--output-dir", "run", *FAST,
             "--trainable", "lora", "--learning-rate", "1e-3")  # fmt: skip
    outcome = lasttoken(*words)
    assert outcome.code == 0, outcome.err
    saved = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    head = load_file(tmp_path / "run" / "model" / "model.safetensors")["score.weight"]
    assert torch.equal(saved["base_model.model.score.weight"], head)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["settings"]["lora_rank"] == 16
    assert record["results"]["num_trainable_weights"] == 2 * 16 * 1024 + head.numel()
    assert lasttoken(*words, "--seed", "5", "--overwrite").code == 0
    again = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert not torch.equal(again["base_model.model.score.weight"], head)


@pytest.mark.parametrize(
    ("settings", "found", "expected", "remedy"),
    [
        ({"trainable": "lora", "lora_rank": 0}, "--lora-rank 0",
         "--lora-rank a number above 0", "give another value"),
        ({"trainable": "lora", "lora_alpha": -1}, "--lora-alpha -1",
         "--lora-alpha a number above 0", "give another value"),
        ({"trainable": "lora", "lora_dropout": 1.0}, "--lora-dropout 1.0",
         "--lora-dropout below 1", "give another value"),
        ({"lora_rank": 8}, "--lora-rank 8 with --trainable full",
         "--trainable lora: no other way of training has adapters",
         "--trainable lora, or leave it out"),
        ({"layer_decay": 0.0}, "--layer-decay 0.0",
         "--layer-decay a number above 0", "give another value"),
        ({"layer_decay": 1.5}, "--layer-decay 1.5",
         "--layer-decay at most 1", "give another value"),
        ({"layer_decay": 0.9, "trainable": "probe"}, "--layer-decay 0.9 with --trainable probe",
         "a model that is trained: a probe's head is fitted, without steps",
         "leave it out, or --trainable last-1"),
        ({"gradient_checkpointing": True, "trainable": "probe"},
         "--gradient-checkpointing with --trainable probe",
         "a model that is trained: a probe's head is fitted, without steps",
         "leave it out, or --trainable last-1"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_told(
    decoder: str, settings: dict[str, Any], found: str, expected: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        TextClassifier(decoder, **settings).fit(TEXTS, LABELS)
    assert (caught.value.found, caught.value.expected, caught.value.remedy) == (
        found, expected, remedy,
    )  # fmt: skip
