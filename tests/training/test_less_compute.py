"""`trainable` and `depth`: the cache, the probe table, the fitted head, the rule, the errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from test_training import LABELS, TEXTS
from transformers import AutoModelForCausalLM, BloomConfig, BloomForCausalLM

from families import FAMILIES, byte_tokenizer, save_decoder
from lasttoken import ConfigError, TextClassifier
from lasttoken.data.examples import examples_from_python
from lasttoken.data.labels import LabelSpec
from lasttoken.data.splits import set_aside
from lasttoken.events import EpochEnd, Event, Note, ignore
from lasttoken.model import attention, products
from lasttoken.model.batch import Gpt2ClassificationCollator
from lasttoken.model.blocks import find_blocks
from lasttoken.training import cache, fit, scratch
from lasttoken.training.cache import CachedExamples, frozen_inputs
from lasttoken.training.head_fits import (
    C_VALUES,
    fit_head,
    fit_heads,
    state_scale,
)
from lasttoken.training.optim import make_optimizer
from lasttoken.training.preparation import PreparedTraining
from lasttoken.training.probe_heads import (
    ProbeRow,
    ProbeTable,
    make_probe_table,
)
from lasttoken.training.starting_fits import fit_starting_head

FAST = {"num_epochs": 2, "batch_size": 8, "learning_rate": 3e-3, "precision": "fp32"}


@pytest.fixture(autouse=True)
def scratch_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for temporary files that must be empty after every test."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four blocks that hardly change their input, as trained ones do."""
    folder = tmp_path_factory.mktemp("m") / "gpt2"
    return str(save_decoder(folder, initializer_range=0.05, n_layer=4))


@pytest.fixture(scope="module", params=FAMILIES)
def family_decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_decoder(tmp_path_factory.mktemp("m") / "model", request.param))


@pytest.fixture
def bloom(tmp_path: Path) -> str:
    torch.manual_seed(0)
    config = BloomConfig(vocab_size=260, hidden_size=32, n_layer=3, n_head=4, eos_token_id=256)
    BloomForCausalLM(config).save_pretrained(tmp_path / "bloom")
    byte_tokenizer().save_pretrained(tmp_path / "bloom")
    return str(tmp_path / "bloom")


def fitted(decoder: str, **settings: object) -> TextClassifier:
    return TextClassifier(decoder, **{**FAST, **settings}).fit(TEXTS, LABELS)


def prepared_for(decoder: str, **settings: Any) -> PreparedTraining:
    examples = examples_from_python(TEXTS, LABELS)
    parts = set_aside(examples, {"validation": 0.2}, 1, ignore)
    classifier = TextClassifier(decoder, **{**FAST, **settings})
    return classifier.prepare(parts["train"], parts["validation"])


def weights(classifier: TextClassifier) -> dict[str, torch.Tensor]:
    return classifier.loaded_.classifier.state_dict()


def collator_of(prepared: PreparedTraining) -> Gpt2ClassificationCollator:
    return Gpt2ClassificationCollator(
        prepared.loaded.tokenizer,
        prepared.loaded.classifier.labels,
        reading=prepared.reading,
    )


# the cache


@pytest.mark.parametrize(
    "reading",
    [
        {},
        {"template": "Is this review good? {text}"},
        {"template": "Good? {text} So?", "long": "windows", "max_length": 22},
    ],
    ids=str,
)
def test_cached_states_give_the_logits_and_gradients_of_the_frozen_blocks(
    family_decoder: str, reading: dict[str, Any]
) -> None:
    prepared = prepared_for(family_decoder, trainable="last-1", **reading)
    classifier = prepared.loaded.classifier
    classifier.eval()
    results = []
    with frozen_inputs(prepared, collator_of(prepared), ignore) as inputs:
        assert isinstance(inputs.training, CachedExamples)
        batch = inputs.collate([inputs.training[index] for index in (5, 2, 9, 40)])
        states = batch.pop("hidden_states")
        assert states.shape[:2] == batch["input_ids"].shape
        for extra in ({}, {"hidden_states": states}):
            classifier.zero_grad()
            output = classifier(**batch, **extra)
            output.loss.backward()
            gradients = {n: p.grad.clone() for n, p in classifier.named_parameters()
                         if p.grad is not None}  # fmt: skip
            results.append((output.logits.detach(), gradients))
    (whole, whole_gradients), (entered, entered_gradients) = results
    assert (whole - entered).abs().max() <= 1e-5 * max(1.0, float(whole.abs().max()))
    assert set(whole_gradients) == set(entered_gradients)
    largest = max(float(gradient.abs().max()) for gradient in whole_gradients.values())
    for name, gradient in whole_gradients.items():
        difference = (gradient - entered_gradients[name]).abs().max()
        assert difference <= 1e-5 * max(1.0, largest), name


def test_training_on_the_cache_is_training_without_it(
    family_decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, where the pass that fills the cache computes as training does."""
    monkeypatch.setattr(products, "_is_fed", lambda inputs: False)
    monkeypatch.setattr(attention, "LONGEST_MATMUL_ROW_FORWARD", attention.LONGEST_MATMUL_ROW)
    events: list[Event] = []
    settings = {**FAST, "trainable": "last-1"}
    cached = TextClassifier(family_decoder, **settings).fit(TEXTS, LABELS)
    monkeypatch.setattr(cache, "_is_exact", lambda inputs, prepared: False)
    plain = TextClassifier(family_decoder, **settings)
    plain.fit(TEXTS, LABELS, on_event=events.append)
    told = [e.text for e in events if isinstance(e, Note) and "frozen blocks" in e.text]
    assert told == [
        "frozen blocks run in every epoch: their stored output does not lead to the same states"
    ]
    first, second = weights(cached), weights(plain)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [row.train_loss for row in cached.history_] == [row.train_loss for row in plain.history_]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_states_of_other_texts_are_found_out(decoder: str, precision: str) -> None:
    prepared = prepared_for(decoder, trainable="last-1", precision=precision)
    with frozen_inputs(prepared, collator_of(prepared), ignore) as inputs:
        assert isinstance(inputs.training, CachedExamples)
        assert cache._is_exact(inputs, prepared)
        inputs.training._states[:] = np.roll(inputs.training._states, 5, axis=0)
        assert not cache._is_exact(inputs, prepared)


def test_frozen_weights_do_not_change_by_a_bit_and_the_others_do(
    decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "LITTLE_DATA", 0)  # the start is no rival
    before = {n: t.clone() for n, t in prepared_for(decoder).loaded.classifier.state_dict().items()}
    after = weights(fitted(decoder, trainable="last-2", weight_decay=0.1))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    trained = {n for n in before if any(part in n for part in ("h.2.", "h.3.", "ln_f", "score"))}
    assert changed == trained


def test_the_optimizer_holds_what_learns_and_nothing_else(decoder: str) -> None:
    prepared = prepared_for(decoder, trainable="last-1")
    with frozen_inputs(prepared, collator_of(prepared), ignore):
        optimizer = make_optimizer(prepared.loaded.classifier, learning_rate=1.0, weight_decay=0.0)
        held = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    extent = fitted(decoder, trainable="last-1").extent_
    assert held == extent.num_trainable_weights < extent.num_weights


def test_a_failure_in_training_leaves_no_file_and_no_frozen_weight(
    decoder: str, monkeypatch: pytest.MonkeyPatch, scratch_place: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        assert len(list(scratch_place.rglob("training"))) == 1
        raise RuntimeError("in the middle")

    monkeypatch.setattr(fit, "train", fail)
    prepared = prepared_for(decoder, trainable="last-1")
    first = find_blocks(prepared.loaded.classifier.hf_model)[0]
    own_forward = first.forward
    with pytest.raises(RuntimeError, match="in the middle"):
        fit.fit(prepared)
    assert list(scratch_place.iterdir()) == []
    classifier = prepared.loaded.classifier
    assert all(p.requires_grad for p in classifier.parameters())
    assert classifier.frozen == ()
    assert first.forward is own_forward


def test_a_disk_without_room_is_told_before_training(
    decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda path: type("U", (), {"free": 10**8})())
    for trainable in ("last-1", "probe"):
        with pytest.raises(ConfigError, match=r"hidden states .* 0\.1 GB are free") as caught:
            prepared_for(decoder, trainable=trainable)
        assert "TMPDIR" in caught.value.remedy


def test_all_blocks_may_learn_with_the_embeddings_frozen(decoder: str) -> None:
    before = {n: t.clone() for n, t in prepared_for(decoder).loaded.classifier.state_dict().items()}
    after = weights(fitted(decoder, trainable="last-4"))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {"hf_model.transformer.wte.weight", "hf_model.transformer.wpe.weight"}


def test_a_padded_family_trains_its_last_blocks_without_a_cache(bloom: str) -> None:
    events: list[Event] = []
    classifier = TextClassifier(bloom, **{**FAST, "num_epochs": 1}, trainable="last-1")
    classifier.fit(TEXTS, LABELS, on_event=events.append)
    assert Note("frozen blocks run in every epoch: this model is read padded") in events
    assert classifier.extent_.num_trainable_weights < classifier.extent_.num_weights


# probes


def separable(num_texts: int, num_labels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(num_texts, 12)).astype(np.float32)
    scores = 2 * states @ rng.normal(size=(12, num_labels)) + rng.gumbel(
        size=(num_texts, num_labels)
    )
    return states, scores.argmax(axis=1).astype(np.int64)


@pytest.mark.parametrize("num_labels", [2, 3])
def test_heads_fitted_together_are_scikit_learns(num_labels: int) -> None:
    states, label_ids = separable(300, num_labels)
    inside = torch.stack([torch.arange(300) % 3 != part for part in range(4)])
    tensors = torch.from_numpy(states), torch.from_numpy(label_ids)
    heads = fit_heads(*tensors, inside, num_labels, C_VALUES, iterations=500)
    quick = fit_heads(*tensors, inside, num_labels, C_VALUES)
    assert (heads - quick).abs().max() <= 0.03 * heads.abs().max()
    for c, penalty in enumerate(C_VALUES):
        for part, kept in enumerate(inside.numpy()):
            model = LogisticRegression(C=penalty, fit_intercept=False, tol=1e-8)
            coefficients = model.fit(states[kept], label_ids[kept]).coef_
            head = heads[c, part].numpy()
            found = head[1:] - head[:1] if num_labels == 2 else head
            assert np.abs(found - coefficients).max() <= 2e-3 * np.abs(coefficients).max()


def test_the_head_of_two_labels_gives_scikit_learns_probabilities() -> None:
    states, label_ids = separable(200, 2)
    head = fit_head(states, label_ids, 2, penalty=0.1, seed=1)
    assert np.array_equal(head[0], -head[1])
    scale = np.sqrt(np.mean(states**2))
    model = LogisticRegression(C=0.1, fit_intercept=False).fit(states / scale, label_ids)
    probs = torch.from_numpy(states @ head.T).softmax(-1).numpy()
    assert probs == pytest.approx(model.predict_proba(states / scale), abs=1e-4)


def test_the_table_finds_the_block_that_knows() -> None:
    states, label_ids = separable(400, 2)
    noise = np.random.default_rng(9).normal(size=states.shape).astype(np.float32)
    blocks = [noise, states + noise, 4 * states + noise, noise]
    table = make_probe_table(
        4, lambda depth: blocks[depth - 1][:300], label_ids[:300],
        lambda depth: blocks[depth - 1][300:], label_ids[300:], 2, seed=1,
    )  # fmt: skip
    assert [row.depth for row in table.rows] == [1, 2, 3, 4]
    assert table.num_examples == 300
    accuracies = [row.cross_validated_accuracy for row in table.rows]
    assert max(accuracies[0], accuracies[3]) < 0.6 < accuracies[1] < accuracies[2]
    assert table.rows[2].validation_accuracy > 0.7
    assert table.choose_depth() == 3


def table_of(*accuracies: float, num_examples: int = 900) -> ProbeTable:
    rows = [ProbeRow(d, accuracy, 0.0, 0.1) for d, accuracy in enumerate(accuracies, start=1)]
    return ProbeTable(tuple(rows), num_examples)


def test_the_depth_is_the_smallest_within_a_standard_error_of_the_best() -> None:
    table = table_of(0.5, 0.889, 0.8901, 0.9, 0.9)  # one error: sqrt(0.9 x 0.1 / 900) = 0.01
    assert table.choose_depth() == 3
    assert table.choose_depth(standard_errors=0) == 4
    assert table.choose_depth(standard_errors=2) == 2
    assert table.choose_depth(at_least=5) == 5
    assert table_of(0.9, 0.9).choose_depth() == 1


@pytest.mark.parametrize("model", ["decoder", "bloom"])
def test_a_probe_run_has_every_ordinary_output(model: str, request: pytest.FixtureRequest) -> None:
    events: list[Event] = []
    folder = request.getfixturevalue(model)
    classifier = TextClassifier(folder, **FAST, trainable="probe")
    classifier.fit(TEXTS, LABELS, on_event=events.append)
    (row,) = classifier.history_
    assert row in events
    assert (row.epoch, row.step, row.is_kept, row.learning_rate) == (1, 0, True, 0.0)
    assert classifier.kept_epoch_ == 1
    extent = classifier.extent_
    head = classifier.loaded_.classifier.hf_model.score.weight
    assert extent.num_trainable_weights == head.numel()
    assert extent.depth == extent.num_blocks == len(extent.probe_table.rows)
    told = [e.text for e in events if isinstance(e, Note) and e.text.startswith("  block")]
    assert len(told) == extent.num_blocks
    labels = classifier.loaded_.classifier.labels
    logits = classifier.predict_logits(classifier.tokenize(TEXTS))
    both = np.mean(logits.argmax(axis=1) == labels.encode(LABELS).numpy())
    assert both == pytest.approx(0.9 * row.train_accuracy + 0.1 * row.validation_accuracy)
    # Everything but the head is as it was, and the head says what the history says.
    before = prepared_for(folder).loaded.classifier.state_dict()
    after = weights(classifier)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"hf_model.score.weight"}


def test_a_probe_can_be_cut_at_its_best_block(decoder: str, tmp_path: Path) -> None:
    classifier = fitted(decoder, trainable="probe", depth="auto")
    table = classifier.extent_.probe_table
    accuracies = [row.cross_validated_accuracy for row in table.rows]
    assert classifier.extent_.depth == accuracies.index(max(accuracies)) + 1
    classifier.save_pretrained(tmp_path / "model")
    again = TextClassifier.from_pretrained(tmp_path / "model", precision="fp32")
    assert np.array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    assert again.loaded_.classifier.hf_model.config.n_layer == classifier.extent_.depth


def test_only_training_examples_choose_the_depth(decoder: str) -> None:
    wrong = ["bad" if label == "good" else "good" for label in LABELS]
    depths = set()
    for validation in ((TEXTS, LABELS), (TEXTS, wrong)):
        classifier = TextClassifier(decoder, **{**FAST, "num_epochs": 1}, depth="auto")
        classifier.fit(TEXTS, LABELS, validation=validation)
        table = classifier.extent_.probe_table
        depths.add((classifier.extent_.depth, *(r.cross_validated_accuracy for r in table.rows)))
    assert len(depths) == 1


def test_auto_depth_leaves_as_many_blocks_as_shall_learn(decoder: str) -> None:
    extent = fitted(decoder, trainable="last-4", depth="auto").extent_
    assert extent.depth == 4


@pytest.mark.parametrize("depth", [2, "2", np.int64(2)])
def test_a_depth_may_be_given(decoder: str, depth: object) -> None:
    classifier = fitted(decoder, depth=depth, num_epochs=1)
    assert classifier.extent_.depth == 2
    assert classifier.extent_.num_blocks == 4
    assert classifier.extent_.probe_table is None
    assert classifier.loaded_.classifier.hf_model.config.n_layer == 2


def test_training_the_first_blocks_of_a_model_is_training_a_model_of_these_blocks(
    decoder: str, tmp_path: Path
) -> None:
    small = AutoModelForCausalLM.from_pretrained(decoder, n_layer=2)
    small.save_pretrained(tmp_path / "small")
    byte_tokenizer().save_pretrained(tmp_path / "small")
    first = weights(fitted(decoder, depth=2))
    second = weights(fitted(str(tmp_path / "small"), depth=2))
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_reduced_fit_repeats_bit_for_bit(decoder: str) -> None:
    settings = {"trainable": "last-1", "depth": "auto"}
    first, second = weights(fitted(decoder, **settings)), weights(fitted(decoder, **settings))
    assert all(torch.equal(first[name], second[name]) for name in first)


# the head that training starts from

BARELY = {"num_epochs": 1, "learning_rate": 1e-12}  # what is there at the end was there before


@pytest.mark.parametrize(
    "settings",
    [{}, {"depth": 2}, {"trainable": "last-2"}, {"depth": "auto"},
     {"trainable": "last-1", "depth": "auto"}],
    ids=str,
)  # fmt: skip
def test_training_starts_from_a_fitted_head(decoder: str, settings: dict[str, Any]) -> None:
    prepared = prepared_for(decoder, **BARELY, **settings)
    classifier = TextClassifier(decoder, **{**FAST, **BARELY, **settings})
    events: list[Event] = []
    result = classifier.train(prepared, on_event=events.append)
    assert result.extent.starting_head == "fitted"
    count = f"{len(prepared.training):,}"
    told = f"the head starts from a fit on the states of {count} training examples"
    assert events.count(Note(told)) == 1
    model = prepared.loaded.classifier
    inputs = cache.TrainingInputs(prepared.training, prepared.validating, collator_of(prepared))
    states = cache.pooled_states(inputs, np.arange(len(prepared.training)), prepared)
    targets = model.labels.encode(prepared.training.labels)
    expected = fit_starting_head(states, targets, model.labels, seed=prepared.settings.seed)
    # The temperature was put into it after training.
    found = model.hf_model.score.weight.detach().numpy() * result.decisions.temperature
    assert np.abs(expected).max() > 1e-6
    assert np.abs(found - expected).max() <= 0.01 * np.abs(expected).max()


def test_the_head_of_sets_starts_as_one_logistic_regression_a_label() -> None:
    rng = np.random.default_rng(1)
    states = rng.normal(size=(400, 12)).astype(np.float32)
    logits = states @ rng.normal(size=(12, 3)).astype(np.float32)
    targets = (logits + rng.logistic(size=logits.shape) > 0.5).astype(np.float32)
    labels = LabelSpec(("a", "b", "c"), "multi_label")
    head = fit_starting_head(states, torch.from_numpy(targets), labels, seed=1)
    scale = state_scale(torch.from_numpy(states))
    near = []
    for penalty in C_VALUES:
        model = LogisticRegression(C=penalty, fit_intercept=False, tol=1e-6)
        rows = [model.fit(states / scale, wanted).coef_[0] / scale for wanted in targets.T]
        near.append(np.abs(head - rows).max() / np.abs(rows).max())
    assert min(near) <= 0.03


@pytest.mark.parametrize("num_labels", [2, 3])
def test_words_for_the_labels_are_where_a_head_starts_if_they_tell_labels_apart(
    num_labels: int,
) -> None:
    rng = np.random.default_rng(3)
    words = rng.normal(size=(num_labels, 40)).astype(np.float32)
    states = rng.normal(size=(400, 40)).astype(np.float32)
    label_ids = (states @ words.T + rng.gumbel(size=(400, num_labels))).argmax(axis=1)
    few = np.concatenate([np.flatnonzero(label_ids == c)[:8] for c in range(num_labels)])
    labels = LabelSpec(tuple("abc"[:num_labels]))

    def right(given: np.ndarray | None) -> float:
        targets = torch.from_numpy(label_ids[few])
        head = fit_starting_head(states[few], targets, labels, seed=1, words=given)
        assert head.shape == (num_labels, 40)
        return float(((states @ head.T).argmax(axis=1) == label_ids).mean())

    assert right(words) >= right(None) + 0.1
    assert right(-words) == right(None)  # words that say the opposite lose to none


def test_the_head_of_numbers_starts_as_the_ridge_regression_that_leaves_one_out() -> None:
    rng = np.random.default_rng(1)
    states = rng.normal(size=(60, 12)).astype(np.float32)
    targets = states @ rng.normal(size=12) + rng.normal(size=60)
    labels = LabelSpec(("score",), "regression")
    head = fit_starting_head(states, torch.from_numpy(targets), labels, seed=1)
    scale = state_scale(torch.from_numpy(states))
    scaled = states.astype(np.float64) / scale
    errors, heads = [], []
    for penalty in C_VALUES:  # the formula of leaving one out: the residual over 1 - its leverage
        hat = scaled @ np.linalg.inv(scaled.T @ scaled + np.eye(12) / penalty) @ scaled.T
        errors.append((((targets - hat @ targets) / (1 - np.diag(hat))) ** 2).mean())
        ridge = Ridge(alpha=1 / penalty, fit_intercept=False)
        heads.append(ridge.fit(scaled, targets).coef_ / scale)
    expected = heads[int(np.argmin(errors))]
    assert np.abs(head[0] - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("settings", [{"depth": 2}, {"depth": "auto"}], ids=str)
def test_a_head_that_came_with_the_model_is_kept_at_the_start(
    decoder: str, tmp_path: Path, settings: dict[str, Any]
) -> None:
    fitted(decoder, num_epochs=1).save_pretrained(tmp_path / "own")
    prepared = prepared_for(str(tmp_path / "own"), **BARELY, **settings)
    before = prepared.loaded.classifier.hf_model.score.weight.detach().clone()
    classifier = TextClassifier(str(tmp_path / "own"), **{**FAST, **BARELY, **settings})
    result = classifier.train(prepared)
    assert result.extent.starting_head == "own"
    after = prepared.loaded.classifier.hf_model.score.weight * result.decisions.temperature
    assert torch.allclose(after, before, atol=1e-6)


def test_states_on_the_cache_are_those_without_it_in_the_order_asked_for(decoder: str) -> None:
    prepared = prepared_for(decoder, trainable="last-1")
    collate = collator_of(prepared)
    indices = np.array([7, 0, 3])
    with frozen_inputs(prepared, collate, ignore) as inputs:
        cached = cache.pooled_states(inputs, indices, prepared)
    plain = cache.TrainingInputs(prepared.training, prepared.validating, collate)
    each = [cache.pooled_states(plain, indices[i : i + 1], prepared)[0] for i in range(3)]
    assert np.abs(cached - np.stack(each)).max() <= 1e-5 * max(1.0, np.abs(cached).max())


# what is refused

REFUSED = [
    ({"trainable": "last-0"}, "--trainable last-0", "full, lora, probe, or last-K"),
    ({"trainable": "lastK"}, "--trainable lastK", "full, lora, probe, or last-K"),
    ({"trainable": None}, "--trainable None", "full, lora, probe, or last-K"),
    ({"depth": 0}, "--depth 0", "all, auto, or the number of blocks to keep"),
    ({"depth": 2.5}, "--depth 2.5", "all, auto, or the number of blocks to keep"),
    ({"depth": True}, "--depth True", "all, auto, or the number of blocks to keep"),
    ({"depth": "deep"}, "--depth deep", "all, auto, or the number of blocks to keep"),
    ({"depth": 9}, "--depth 9: model .* has 4 blocks", "1 to 4, all, or auto"),
    ({"trainable": "last-99"}, "--trainable last-99: model .* has 4 blocks", "last-1 to last-4"),
    ({"trainable": "last-3", "depth": 2}, "of which --depth 2 keeps 2", "last-1 to last-2"),
]


@pytest.mark.parametrize(("settings", "found", "expected"), REFUSED, ids=lambda value: str(value))
def test_what_cannot_be_is_refused(
    decoder: str, settings: dict[str, object], found: str, expected: str
) -> None:
    with pytest.raises(ConfigError, match=found) as caught:
        fitted(decoder, **settings)
    assert caught.value.expected.startswith(expected)
    assert caught.value.remedy.startswith("--")


def test_events_end_with_one_epoch(decoder: str) -> None:
    events: list[Event] = []
    TextClassifier(decoder, **FAST, trainable="probe").fit(TEXTS, LABELS, on_event=events.append)
    assert sum(isinstance(event, EpochEnd) for event in events) == 1
