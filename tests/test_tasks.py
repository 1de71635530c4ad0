"""Every kind of task with `TextClassifier`: fit, predict, score, save, and other programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.metrics import accuracy_score, r2_score
from transformers import AutoModelForSequenceClassification, pipeline

from families import save_decoder
from lasttoken import TextClassifier
from lasttoken.data.examples import examples_from_python
from lasttoken.errors import BackboneError, ConfigError, DatasetError

WORDS = {"joy": "glad", "fear": "afraid", "anger": "cross"}
SETS = [(), ("joy",), ("fear",), ("anger", "joy"), ("anger", "fear", "joy")] * 8
SET_TEXTS = [" ".join(["I am", *map(WORDS.get, names), "now", str(n)])
             for n, names in enumerate(SETS)]  # fmt: skip
LEVELS = ["low", "mid", "high"]
LEVEL_TEXTS = [f"it is {'very ' * (n % 3)}hot, {n}" for n in range(30)]


class Case(NamedTuple):
    """A task with examples."""

    texts: list[str]
    labels: list[Any]
    parameters: dict[str, Any]


CASES = {
    "single-label": Case(LEVEL_TEXTS, [LEVELS[n % 3] for n in range(30)], {}),
    "multi-label": Case(SET_TEXTS, SETS, {}),
    "ordinal": Case(LEVEL_TEXTS, [LEVELS[n % 3] for n in range(30)], {"label_order": LEVELS}),
    "regression": Case(LEVEL_TEXTS, [200.0 * (n % 3) - 100 for n in range(30)], {}),
}
PARAMETERS = {"num_epochs": 2, "batch_size": 8, "learning_rate": 3e-3, "precision": "fp32",
              "validation_fraction": 0.3}  # fmt: skip


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_decoder(tmp_path_factory.mktemp("m") / "gpt2", initializer_range=0.02))


@pytest.fixture(scope="module")
def fitted(decoder: str) -> Callable[[str], TextClassifier]:
    made: dict[str, TextClassifier] = {}

    def fit(task: str) -> TextClassifier:
        if task not in made:
            case = CASES[task]
            untrained = TextClassifier(decoder, task=task, **case.parameters, **PARAMETERS)
            made[task] = untrained.fit(case.texts, case.labels)
        return made[task]

    return fit


@pytest.mark.parametrize("task", CASES)
def test_a_saved_model_survives_here_and_in_plain_transformers(
    fitted: Callable[[str], TextClassifier], tmp_path: Path, task: str
) -> None:
    classifier, folder = fitted(task), tmp_path / "model"
    classifier.save_pretrained(folder)
    again = TextClassifier.from_pretrained(folder, precision="fp32")
    texts = CASES[task].texts
    values = classifier._values(texts)
    assert np.array_equal(again._values(texts), values)
    assert list(again.predict(texts)) == list(classifier.predict(texts))
    assert again.task == task
    ours, theirs = classifier.loaded_, again.loaded_
    assert theirs.classifier.labels == ours.classifier.labels
    for name in ("temperature", "thresholds", "task", "label_separator"):
        assert getattr(theirs.record, name) == getattr(ours.record, name)
    config = json.loads((folder / "config.json").read_text())
    assert config["problem_type"] == ours.classifier.labels.problem_type
    assert list(config["id2label"].values()) == list(ours.classifier.labels.labels)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    plain = pipeline("text-classification", model=model, tokenizer=str(folder), device="cpu")
    for row, answer in zip(values, plain(texts, top_k=None), strict=True):
        scores = {entry["label"]: entry["score"] for entry in answer}
        expected = dict(zip(ours.classifier.labels.labels, row.tolist(), strict=True))
        assert scores == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_a_plain_folder_without_our_record_is_read_as_its_problem_type_says(
    fitted: Callable[[str], TextClassifier], tmp_path: Path, task: str
) -> None:
    fitted(task).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "lasttoken.json").unlink()
    again = TextClassifier.from_pretrained(tmp_path / "model", precision="fp32")
    texts = CASES[task].texts
    assert again.task == task
    assert np.array_equal(again._values(texts), fitted(task)._values(texts))


def test_a_model_whose_labels_hold_the_separator_is_read_with_another(
    fitted: Callable[[str], TextClassifier], tmp_path: Path
) -> None:
    fitted("multi-label").save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "lasttoken.json").unlink()
    path = tmp_path / "model" / "config.json"
    path.write_text(path.read_text().replace('"joy"', '"joy|bliss"'))
    again = TextClassifier.from_pretrained(tmp_path / "model", precision="fp32")
    assert again.loaded_.classifier.labels.separator == ";"


@given(probs=st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=9),
       thresholds=st.lists(st.none() | st.floats(0, 1), min_size=3, max_size=3),
       task=st.sampled_from(list(CASES)))  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_predict_is_the_argmax_or_the_thresholds_of_predict_proba(
    fitted: Callable[[str], TextClassifier],
    monkeypatch: pytest.MonkeyPatch,
    probs: list[list[float]],
    thresholds: list[float | None],
    task: str,
) -> None:
    """Whatever the model answers: its values are drawn, what is made of them is ours."""
    classifier = clone(fitted(task))
    loaded = fitted(task).loaded_
    names = loaded.classifier.labels.labels
    found = dict(zip(names, thresholds, strict=False)) if task == "multi-label" else {}
    classifier._become(loaded, replace(loaded.record, thresholds=found))
    values = np.array(probs)[:, : len(names)]
    monkeypatch.setattr(classifier, "_values", lambda texts: values)
    predicted = classifier.predict(["a"] * len(values))
    if task == "regression":
        assert predicted.tolist() == values[:, 0].tolist()
        return
    shown = classifier.predict_proba(["a"] * len(values))
    if task == "multi-label":
        least = [0.5 if found[name] is None else found[name] for name in classifier.classes_]
        wanted = [tuple(classifier.classes_[row >= least].tolist()) for row in shown]
        assert predicted == wanted
    else:
        assert predicted.tolist() == classifier.classes_[shown.argmax(axis=1)].tolist()


@pytest.mark.parametrize("task", ["multi-label", "single-label"])
def test_the_model_itself_predicts_as_its_probabilities_say(
    fitted: Callable[[str], TextClassifier], task: str
) -> None:
    classifier, texts = fitted(task), CASES[task].texts
    probs = classifier.predict_proba(texts)
    if task == "single-label":
        assert list(classifier.predict(texts)) == list(classifier.classes_[probs.argmax(axis=1)])
        assert np.allclose(probs.sum(axis=1), 1)
        return
    least = [classifier.loaded_.record.thresholds[name] for name in classifier.classes_]
    given_labels = [tuple(classifier.classes_[row >= least].tolist()) for row in probs]
    assert classifier.predict(texts) == given_labels


def test_sets_are_learned_and_answered_as_sets(decoder: str) -> None:
    parameters = {**PARAMETERS, "num_epochs": 12, "validation_fraction": 0.2}
    classifier = TextClassifier(decoder, task="multi-label", **parameters).fit(SET_TEXTS, SETS)
    assert classifier.classes_.tolist() == ["anger", "fear", "joy"]
    assert classifier.score(SET_TEXTS, [set(names) for names in SETS]) >= 0.6
    assert classifier.predict(["I am now"])[0].__class__ is tuple


def test_rows_of_0_and_1_are_answered_by_rows_of_0_and_1(decoder: str) -> None:
    names = ["joy", "nothing", "anger", "fear"]  # the second occurs nowhere
    rows = np.array([[name in names_of for name in names] for names_of in SETS]).astype(int)
    classifier = TextClassifier(decoder, task="multi-label", **PARAMETERS).fit(SET_TEXTS, rows)
    predicted = classifier.predict(SET_TEXTS)
    assert classifier.classes_.tolist() == [0, 1, 2, 3]
    assert (predicted.shape, predicted.dtype) == (rows.shape, np.int64)
    assert not predicted[:, 1].any()
    assert classifier.score(SET_TEXTS, rows) == accuracy_score(rows, predicted)
    sparse = TextClassifier(decoder, task="multi-label", **PARAMETERS)
    sparse.fit(SET_TEXTS, csr_matrix(rows))
    assert np.array_equal(sparse.predict(SET_TEXTS), predicted)


def test_numbers_are_learned_in_their_own_unit(decoder: str) -> None:
    case = CASES["regression"]
    parameters = {**PARAMETERS, "num_epochs": 12, "validation_fraction": 0.2}
    classifier = TextClassifier(decoder, task="regression", **parameters)
    classifier.fit(case.texts, case.labels)
    predicted = classifier.predict(case.texts)
    assert (predicted.shape, predicted.dtype) == ((30,), np.float64)
    score = classifier.score(case.texts, case.labels)
    assert score == r2_score(case.labels, predicted)
    assert score > 0.5
    losses = [epoch.validation_loss for epoch in classifier.history_]
    assert classifier.kept_epoch_ == losses.index(min(losses)) + 1
    assert min(losses) < np.var(case.labels)
    assert {epoch.validation_macro_f1 for epoch in classifier.history_} == {None}
    assert classifier.loaded_.classifier.labels.scale == 1.0


def test_a_regression_has_no_probabilities(fitted: Callable[[str], TextClassifier]) -> None:
    assert hasattr(fitted("ordinal"), "predict_proba")
    assert not hasattr(fitted("regression"), "predict_proba")
    assert is_regressor(fitted("regression"))
    assert is_classifier(fitted("multi-label"))


def test_a_head_of_the_same_task_is_kept_and_of_another_is_not(
    fitted: Callable[[str], TextClassifier], tmp_path: Path
) -> None:
    for task, case in CASES.items():
        folder = tmp_path / task
        fitted(task).save_pretrained(folder)
        same = TextClassifier(str(folder), task=task, **case.parameters, **PARAMETERS)
        examples = examples_from_python(case.texts, case.labels, task=same._task())
        prepared = same.prepare(examples, examples)
        assert not prepared.loaded.head_is_new
        scaled = (
            prepared.loaded.classifier.hf_model.score.weight
            * prepared.loaded.classifier.labels.scale
        )
        assert torch.allclose(scaled, fitted(task).loaded_.classifier.hf_model.score.weight)
    single = [str(names[0]) if names else "joy" for names in SETS]
    other = TextClassifier(str(tmp_path / "multi-label"), **PARAMETERS)
    examples = examples_from_python(SET_TEXTS, single)
    assert other.prepare(examples, examples).loaded.head_is_new


def broken(folder: Path, **changes: object) -> Path:
    path = folder / "lasttoken.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "found", "remedy"),
    [
        (
            {"thresholds": {"joy": 0.5, "jo": 0.1}},
            "a threshold for 'jo', which is no label",
            "mend",
        ),
        (
            {"task": "regression"},
            "task 'regression', but problem_type of config.json is",
            "restore",
        ),
        ({"task": "guess"}, "task 'guess' is unknown", "restore"),
        ({"thresholds": [0.5]}, "thresholds [0.5] is no Mapping", "restore"),
    ],
)
def test_a_record_that_does_not_fit_the_model_is_refused(
    fitted: Callable[[str], TextClassifier],
    tmp_path: Path,
    changes: dict[str, object],
    found: str,
    remedy: str,
) -> None:
    fitted("multi-label").save_pretrained(tmp_path / "model")
    with pytest.raises(BackboneError) as error:
        TextClassifier.from_pretrained(broken(tmp_path / "model", **changes))
    assert found in error.value.found
    assert error.value.remedy.startswith(remedy)
    assert "\n" not in error.value.found + error.value.expected + error.value.remedy


@pytest.mark.parametrize(
    ("task", "labels", "found", "remedy"),
    [
        (
            "multi-label",
            [("a|b",), ("c",)],
            "label 'a|b' contains the separator",
            "another --label",
        ),
        ("multi-label", ["a|b", "c"], "labels[0] is of type str: 'a|b'", '[label.split("|")'),
        ("multi-label", [("a",), None], "labels[1] is missing", "set() for"),
        ("multi-label", [("a", None), ("b",)], "labels[0] is missing", "leave these rows out"),
        ("multi-label", np.array([[0, 1], [2, 1]]), "labels[1, 0] is", "give 0 and 1"),
        ("multi-label", [[1, 0, 0], [0, 1, 0]], "labels[0] is [1, 0, 0]: a list of", "np.array("),
        ("multi-label", [(), ()], "none of the 2 training examples has a label", "check"),
        ("regression", [1.5, "many"], "labels[1]: label 'many' is no finite number", "mend"),
        ("regression", [1.5, float("inf")], "labels[1]: label 'inf' is no finite number", "mend"),
        ("regression", [1.5, float("nan")], "labels[1] is missing", "leave"),
        ("ordinal", ["low", "high"], "ordinal label 'high' is no finite number", "--label-order"),
    ],
)
def test_labels_of_another_form_are_refused(
    decoder: str, task: str, labels: Any, found: str, remedy: str
) -> None:
    with pytest.raises(DatasetError) as error:
        TextClassifier(decoder, task=task).fit(["one", "two"], labels)
    assert error.value.found.startswith(found)
    assert error.value.remedy.startswith(remedy)


def test_an_order_of_labels_that_have_none_is_refused(decoder: str) -> None:
    classifier = TextClassifier(decoder, task="regression", label_order=["low", "high"])
    with pytest.raises(ConfigError, match="--label-order low,high with --task regression"):
        classifier.fit(["a", "b"], [1, 2])


def test_an_unknown_task_is_refused(decoder: str) -> None:
    with pytest.raises(ConfigError, match="--task sets\nexpected: one of single-label, multi-"):
        TextClassifier(decoder, task="sets").fit(["a", "b"], ["x", "y"])


@pytest.mark.parametrize("setting", [{"trainable": "probe"}, {"depth": "auto"}])
def test_heads_that_would_be_fitted_on_sets_are_refused(
    decoder: str, setting: dict[str, str]
) -> None:
    (flag,) = setting
    with pytest.raises(ConfigError, match=f"--{flag} {setting[flag]} with --task multi-label"):
        TextClassifier(decoder, task="multi-label", **setting).fit(SET_TEXTS, SETS)


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_the_last_blocks_alone_are_trained_from_a_fitted_head(decoder: str, task: str) -> None:
    case = CASES[task]
    parameters = {**PARAMETERS, "num_epochs": 1, "trainable": "last-1"}
    classifier = TextClassifier(decoder, task=task, **parameters).fit(case.texts, case.labels)
    assert classifier.extent_.starting_head == "fitted"


@pytest.mark.parametrize(
    ("labels", "parameters", "recorded"),
    [
        ([0, 1] * 15, {"class_weights": {np.int64(1): np.float64(2)}}, {"1": 2.0}),
        ([False, True] * 15, {"class_weights": {True: 2}}, {"True": 2.0}),
        (["0", "1"] * 15, {"task": "ordinal", "label_order": np.array([1, 0])}, ["1", "0"]),
    ],
    ids=["numbers", "bools", "an order"],
)
def test_labels_in_parameters_are_saved_whatever_their_type(
    decoder: str, tmp_path: Path, labels: list[Any], parameters: dict[str, Any], recorded: Any
) -> None:
    classifier = TextClassifier(decoder, **parameters, **PARAMETERS).fit(LEVEL_TEXTS, labels)
    classifier.save_pretrained(tmp_path / "model")
    again = TextClassifier.from_pretrained(tmp_path / "model")
    assert getattr(again, list(parameters)[-1]) == recorded
    assert again.fit(LEVEL_TEXTS, labels).classes_.tolist() == sorted(set(labels))
