"""Class weights, focal loss and balanced sampling: what they come to, what is told and refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from test_training import TEXTS

from conftest import FAST, Command
from families import save_decoder
from lasttoken import ConfigError, TextClassifier
from lasttoken.config import TrainConfig
from lasttoken.events import Event, Note
from lasttoken.settings import parse_class_weights
from lasttoken.training.fit import fit
from lasttoken.training.preparation import PreparedTraining
from lasttoken.training.sampler import EpochSampler, balanced_order

RARE = ["good" if n % 6 == 0 else "bad" for n in range(len(TEXTS))]  # 10 and 50
SETS = [{"dull"} if n % 2 else ({"dull", "warm"} if n % 3 == 0 else set()) for n in range(60)]
SETTINGS: dict[str, Any] = {
    "num_epochs": 1, "batch_size": 8, "learning_rate": 3e-3, "precision": "fp32",
}  # fmt: skip


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_decoder(tmp_path_factory.mktemp("m") / "gpt2", initializer_range=0.05))


def prepared(
    decoder: str, labels: list[Any], monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> tuple[PreparedTraining, list[str]]:
    """What `fit` would train with, all texts in training, and what was told."""
    events: list[Event] = []
    found: list[PreparedTraining] = []
    with monkeypatch.context() as patch:
        patch.setattr(TextClassifier, "train", lambda self, prepared, **_: found.append(prepared))
        classifier = TextClassifier(decoder, **{**SETTINGS, **settings})
        classifier.fit(TEXTS, labels, validation=(TEXTS, labels), on_event=events.append)
    return found[0], [e.text for e in events if isinstance(e, Note) and e.is_warning]


# weights


def test_balanced_weights_are_scikit_learns(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ready, told = prepared(decoder, RARE, monkeypatch, class_weights="balanced")
    expected = compute_class_weight("balanced", classes=np.array(["bad", "good"]), y=RARE)
    assert expected.tolist() == [60 / (2 * 50), 60 / (2 * 10)] == [0.6, 3.0]
    assert ready.objective.label_weights == pytest.approx(expected.tolist())
    assert told == [
        "class weights, balanced: good 3, bad 0.6; probabilities are those of data in which labels "
        "are so common; thresholds are fitted on validation examples at their true frequencies"
    ]


def test_balanced_weights_of_sets_are_torchs_advice(
    decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 texts are dull and 20 are not, 10 are warm and 50 are not."""
    counts = Counter(label for labels in SETS for label in labels)
    assert counts == {"dull": 40, "warm": 10}
    ready, _ = prepared(decoder, SETS, monkeypatch, task="multi-label", class_weights="balanced")
    assert ready.objective.weight_of == {"dull": 0.5, "warm": 5.0}
    always = [{"dull"} | labels for labels in SETS]
    ready, _ = prepared(decoder, always, monkeypatch, task="multi-label", class_weights="balanced")
    assert ready.objective.weight_of == {"dull": 1.0, "warm": 5.0}


@pytest.mark.parametrize("given", ["good=4", {"good": 4.0}, '{"good": 4}'])
def test_given_weights_leave_the_other_labels_at_1(
    decoder: str, given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, told = prepared(decoder, RARE, monkeypatch, class_weights=given)
    assert ready.objective.label_weights == (1.0, 4.0)
    assert told[0].startswith("class weights: good 4, bad 1; probabilities are those of")


def test_weights_of_int_labels_go_by_their_names(
    decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [int(label == "good") for label in RARE]
    ready, _ = prepared(decoder, labels, monkeypatch, class_weights={1: 4.0})
    assert ready.objective.weight_of == {"0": 1.0, "1": 4.0}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("none", None),
        ("balanced", "balanced"),
        ("a=2,b=0.5", {"a": 2.0, "b": 0.5}),
        ("a = b=2", {"a = b": 2.0}),
        ('{"a, b": 2}', {"a, b": 2.0}),
        ({"a": 3}, {"a": 3.0}),
    ],
)
def test_weights_are_read_as_people_write_them(
    value: str | Mapping[str, float], expected: object
) -> None:
    assert parse_class_weights(value) == expected


def test_weights_change_what_is_learned_and_the_saved_model_is_a_plain_one(
    decoder: str, tmp_path: Path
) -> None:
    rates = {}
    for weights in ("good=0.05", "none", "good=20"):
        classifier = TextClassifier(
            decoder, **{**SETTINGS, "num_epochs": 2}, class_weights=weights
        ).fit(TEXTS, RARE)
        assert classifier.loaded_.classifier.objective.is_plain
        logits = torch.from_numpy(classifier.predict_logits(classifier.tokenize(TEXTS)))
        temperature = classifier.loaded_.record.temperature
        rates[weights] = float((logits * temperature).softmax(-1)[:, 1].mean())
    assert rates["good=0.05"] < rates["none"] < rates["good=20"]


def test_weighted_batches_in_parts_are_one_large_batch(decoder: str) -> None:
    """Equivalence 5 with weights and focal loss, through a whole run."""
    runs = []
    for batch_size, accumulation in ((16, 1), (4, 4)):
        settings = {"batch_size": batch_size, "gradient_accumulation_steps": accumulation}
        dry = save_decoder(
            Path(decoder).parent / f"dry-{batch_size}", initializer_range=0.05,
            resid_pdrop=0.0, attn_pdrop=0.0, embd_pdrop=0.0,
        )  # fmt: skip
        classifier = TextClassifier(
            str(dry), **{**SETTINGS, **settings, "learning_rate": 1e-4},
            class_weights="balanced", focal_gamma=1.5,
        )  # fmt: skip
        runs.append(classifier.fit(TEXTS, RARE))
    first, second = (run.loaded_.classifier.state_dict() for run in runs)
    losses = [run.history_[0].train_loss for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for name in first:
        assert (first[name] - second[name]).abs().max() <= 2e-5, name


# sampling


@pytest.mark.parametrize("counts", [(50, 10), (5, 5), (97, 2, 1), (1, 30, 9, 20)])
def test_balanced_orders_give_each_label_its_share_and_each_example_its_turn(
    counts: tuple[int, ...],
) -> None:
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    num_examples, num_groups = len(groups), len(counts)
    drawn = np.zeros(num_examples, dtype=int)
    for epoch in range(7):
        order = balanced_order(groups, seed=3, epoch=epoch)
        assert len(order) == num_examples
        shares = np.bincount(groups[order], minlength=num_groups)
        assert set(shares) <= {num_examples // num_groups, -(-num_examples // num_groups)}
        drawn += np.bincount(order, minlength=num_examples)
        for group in range(num_groups):  # nobody is drawn again before all were drawn
            assert np.ptp(drawn[groups == group]) <= 1


def test_the_sample_of_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    groups = np.array([0] * 40 + [1] * 10)

    def batches(seed: int, epoch: int, first_batch: int = 0) -> list[list[int]]:
        sampler = EpochSampler(
            50, 8, seed=seed, epoch=epoch, first_batch=first_batch, groups=groups
        )
        return list(sampler)

    assert batches(1, 2) == batches(1, 2)
    assert batches(1, 2) != batches(1, 3)
    assert batches(1, 2) != batches(2, 2)
    assert batches(1, 2, first_batch=3) == batches(1, 2)[3:]
    mixed = [sum(groups[batch]) for batch in batches(1, 0)[:-1]]
    assert min(mixed) >= 1  # labels are mixed, not one after the other
    assert max(mixed) <= 7


def test_balanced_sampling_tells_how_often_examples_come(
    decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, told = prepared(decoder, RARE, monkeypatch, sampling="balanced")
    assert Counter(ready.groups.tolist()) == {0: 50, 1: 10}
    assert told == [
        "balanced sampling: an epoch draws 30 examples of each of 2 labels, those of 'good' 3.0 "
        "times each, those of 'bad' 0.6 times; probabilities are those of data in which labels are "
        "so common; thresholds are fitted on validation examples at their true frequencies"
    ]
    ready, _ = prepared(decoder, SETS, monkeypatch, task="multi-label", sampling="balanced")
    assert Counter(ready.groups.tolist()) == {0: 20, 1: 30, 2: 10}  # none, dull, warm
    ready, told = prepared(decoder, RARE, monkeypatch)
    assert (ready.groups, told) == (None, [])


def test_training_draws_the_balanced_sample(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    draw = EpochSampler.__iter__

    def watch(self: EpochSampler) -> Any:
        for batch in draw(self):
            drawn.extend(batch)
            yield batch

    monkeypatch.setattr(EpochSampler, "__iter__", watch)
    ready, _ = prepared(decoder, RARE, monkeypatch, sampling="balanced", num_epochs=2)
    fit(ready)
    assert len(drawn) == 120
    for epoch in (drawn[:60], drawn[60:]):
        assert Counter(ready.groups[epoch].tolist()) == {0: 30, 1: 30}


# refusals


@pytest.mark.parametrize(
    ("settings", "found", "expected", "remedy"),
    [
        ({"class_weights": "god=2"}, "--class-weights: label 'god' is unknown",
         "one of 'bad', 'good'", "did you mean 'good'?"),
        ({"class_weights": "good=0"}, "--class-weights: the weight of label 'good' is 0",
         "a number above 0; a label without a weight has 1",
         "give another weight, or leave the label out"),
        ({"class_weights": {"good": -1.0}}, "--class-weights: the weight of label 'good' is -1.0",
         "a number above 0; a label without a weight has 1",
         "give another weight, or leave the label out"),
        ({"class_weights": "good=inf"}, "--class-weights: the weight of label 'good' is inf",
         "a number above 0; a label without a weight has 1",
         "give another weight, or leave the label out"),
        ({"class_weights": "good=lots"}, "--class-weights: the weight of label 'good' is lots",
         "a number above 0; a label without a weight has 1",
         "give another weight, or leave the label out"),
        ({"class_weights": "heavy"}, "--class-weights heavy",
         "none, balanced, or LABEL=WEIGHT,LABEL=WEIGHT, each label once",
         "--class-weights balanced"),
        ({"class_weights": "good=1,good=2"}, "--class-weights good=1,good=2",
         "none, balanced, or LABEL=WEIGHT,LABEL=WEIGHT, each label once",
         "--class-weights balanced"),
        ({"class_weights": None}, "--class-weights None",
         "none, balanced, or LABEL=WEIGHT,LABEL=WEIGHT, each label once",
         "--class-weights balanced"),
        ({"class_weights": "balanced", "sampling": "balanced"},
         "--class-weights balanced with --sampling balanced",
         "one of the two: together they would count rare labels twice",
         "leave one of them out"),
        ({"sampling": "fair"}, "--sampling fair", "one of all, balanced",
         "--sampling balanced, to draw as many examples of each label"),
        ({"focal_gamma": -1.0}, "--focal-gamma -1.0", "--focal-gamma 0 or more",
         "give another value"),
        ({"focal_gamma": 2.0, "trainable": "probe"}, "--focal-gamma 2.0 with --trainable probe",
         "a model that is trained: a probe's head is fitted, without steps",
         "leave it out, or --trainable last-1"),
        ({"focal_gamma": 2.0, "task": "ordinal", "label_order": ["bad", "good"]},
         "--focal-gamma 2.0 with --task ordinal",
         "a task whose examples have labels that are right or wrong",
         "leave it out, or --class-weights balanced"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(
    decoder: str, settings: dict[str, Any], found: str, expected: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        TextClassifier(decoder, **{**SETTINGS, **settings}).fit(TEXTS, RARE)
    assert (caught.value.found, caught.value.expected, caught.value.remedy) == (
        found, expected, remedy,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [("class_weights", "balanced"), ("focal_gamma", 2.0), ("sampling", "balanced")],
)
def test_a_number_is_neither_rare_nor_common(decoder: str, name: str, value: object) -> None:
    classifier = TextClassifier(decoder, **SETTINGS, task="regression", **{name: value})
    with pytest.raises(ConfigError) as caught:
        classifier.fit(TEXTS, [float(n) for n in range(len(TEXTS))])
    flag = f"--{name.replace('_', '-')} {value}"
    assert caught.value.found == f"{flag} with --task regression"
    assert caught.value.expected == "a task with labels: a number is neither rare nor common"
    assert caught.value.remedy == "leave it out"


def test_the_command_refuses_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="--class-weights a=1 with --sampling balanced"):
        TrainConfig(data="nowhere.csv", class_weights="a=1", sampling="balanced")


def test_a_run_records_the_weights_and_the_report_warns(
    lasttoken: Command, tiny_gpt2: Path, tmp_path: Path, without_plots: None
) -> None:
    lines = [f'"{text}",{label}' for text, label in zip(TEXTS, RARE)]
    (tmp_path / "rare.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    outcome = lasttoken(
        "train", "rare.csv", "--model", tiny_gpt2, "--output-dir", "run", *FAST,
        "--class-weights", "balanced", "--focal-gamma", "1",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    weights = record["resolved"]["label_weights"]
    assert set(weights) == {"bad", "good"}
    assert weights["good"] > 2 > weights["bad"]
    notes = json.loads((tmp_path / "run" / "metrics.json").read_text())["notes"]
    assert sum("class weights, balanced: good" in note for note in notes) == 1
    assert sum(note.startswith("focal loss, gamma 1: ") for note in notes) == 1
