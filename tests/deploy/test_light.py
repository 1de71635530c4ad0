"""Exported folders without torch: tokens, windows, pairs, thresholds; and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import (
    END_OF_TEXT,
    LIMIT,
    TEXTS,
    UNUSUAL,
    export,
    save_classifier,
    write_answered,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lasttoken.data.labels import LabelSpec
from lasttoken.deploy.light import LightClassifier
from lasttoken.deploy.light.activation import decide, probs_of
from lasttoken.deploy.light.record import RECORD_NAME, file_sha256
from lasttoken.deploy.light.tokenizer import LightTokenizer
from lasttoken.errors import BackboneError, DatasetError
from lasttoken.estimator import TextClassifier
from lasttoken.model.folder import load_for_prediction
from lasttoken.model.tokens import tokenize


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain classifier of three labels, exported in fp32; for reading only."""
    base = tmp_path_factory.mktemp("exported")
    model = save_classifier(base)
    return export(model, write_answered(base / "data.csv", model), base / "exported").folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy, to break."""
    return Path(shutil.copytree(exported, tmp_path / "exported"))


def in_torch(model: Path) -> TextClassifier:
    return TextClassifier.from_pretrained(model, precision="fp32", device="cpu")


READINGS = {
    "plain": {},
    "beginning of text": {"adds_bos": True},
    "cut start": {"long": "cut-start", "max_length": 20},
    "cut end": {"long": "cut-end", "max_length": 20},
    "cut middle": {"long": "cut-middle", "max_length": 20},
    "windows": {"long": "windows", "max_length": 20},
    "template": {"template": "Review: {text} Good?", "max_length": 40},
    "template and windows": {"template": "R: {text}\n", "long": "windows", "max_length": 24},
    "pairs": {"has_pairs": True, "max_length": 30},
    "pairs in windows": {"has_pairs": True, "long": "windows", "max_length": 30},
    "pairs, template": {"has_pairs": True, "template": "{text} / {text_pair}", "max_length": 30},
}


@pytest.mark.parametrize("name", READINGS)
def test_every_text_becomes_the_same_tokens_as_in_torch(name: str, tmp_path: Path) -> None:
    model = save_classifier(tmp_path, **READINGS[name])
    loaded = load_for_prediction(model)
    reading = loaded.record.reading
    light = LightTokenizer.from_file(
        model / "tokenizer.json", reading, int(loaded.tokenizer.eos_token_id)
    )
    texts = [*UNUSUAL, *TEXTS[:9]]
    pairs = list(reversed(texts)) if reading.has_pairs else None
    expected = tokenize(loaded.tokenizer, texts, reading, pairs=pairs)
    found = tokenize(light, texts, reading, pairs=pairs)
    assert found.token_ids.tolist() == expected.token_ids.tolist()
    assert found.offsets.tolist() == expected.offsets.tolist()
    assert found.num_tokens.tolist() == expected.num_tokens.tolist()
    assert found.truncated.tolist() == expected.truncated.tolist()
    assert expected.truncated.any() or expected.num_windows.max() > 1


def test_a_text_of_only_the_marker_of_the_end_is_text_and_an_empty_one_is_that_token(
    exported: Path,
) -> None:
    light = LightClassifier.from_folder(exported)
    read = light.tokenize(["", END_OF_TEXT, "a"])
    assert read[0].tolist() == [256]
    assert len(read[1]) == len(END_OF_TEXT)
    assert 256 not in read[1]
    assert light.num_tokens(["", END_OF_TEXT, "abc"]).tolist() == [1, 13, 3]
    probs = light.predict_probs(["", END_OF_TEXT, "a"])
    assert len({tuple(row) for row in probs.round(4).tolist()}) == 3


def test_what_is_no_text_is_refused_by_name(exported: Path) -> None:
    light = LightClassifier.from_folder(exported)
    for wrong in ("half \ud800", None, 3):
        with pytest.raises(DatasetError, match="no string of whole characters"):
            light.predict_probs(["a", wrong])
    assert light.predict(["a"])


def test_an_exported_classifier_answers_as_in_torch(exported: Path) -> None:
    light = LightClassifier.from_folder(exported)
    clf = in_torch(exported.parent / "model")
    texts = [*UNUSUAL, *TEXTS]
    expected = clf.predict_proba(texts)
    probs = light.predict_probs(texts)
    assert light.labels == ("bad", "fair", "good")
    np.testing.assert_allclose(probs, expected, atol=1e-5)
    assert light.predict(texts) == clf.predict(texts).tolist()
    assert [light.labels[each] for each in light.decide(probs)] == light.predict(texts)
    assert light.predict_probs([]).shape == (0, 3)
    assert light.predict([]) == []


def test_an_answer_does_not_change_by_a_bit_with_its_batch(exported: Path) -> None:
    light = LightClassifier.from_folder(exported)
    texts = [*UNUSUAL, *TEXTS]
    together = light.predict_probs(texts)
    alone = np.concatenate([light.predict_probs([text]) for text in texts])
    assert alone.tolist() == together.tolist()
    assert light.predict_probs(texts[::-1])[::-1].tolist() == together.tolist()


@pytest.mark.parametrize(
    "reading",
    [
        {"long": "windows", "max_length": 20, "template": "R: {text}\n"},
        {"has_pairs": True, "long": "cut-middle", "max_length": 24},
    ],
    ids=["windows", "pairs"],
)
def test_windows_and_pairs_are_read_as_in_torch(reading: dict, tmp_path: Path) -> None:
    model = save_classifier(tmp_path, **reading)
    texts = [*TEXTS, "long " * 30]
    pairs = list(reversed(texts)) if "has_pairs" in reading else None
    export(model, write_answered(tmp_path / "data.csv", model, texts, pairs), tmp_path / "out",
           text_pair_column="pair" if pairs else None)  # fmt: skip
    light, clf = LightClassifier.from_folder(tmp_path / "out"), in_torch(model)
    asked = texts if pairs is None else list(zip(texts, pairs))
    np.testing.assert_allclose(light.predict_probs(texts, pairs), clf.predict_proba(asked),
                               atol=1e-5)  # fmt: skip
    assert clf.tokenize(texts, pairs).num_windows.max() > 1 or pairs
    with pytest.raises(DatasetError, match="pairs" if pairs else "second"):
        light.predict_probs(texts, None if pairs else texts)


def test_sets_of_labels_are_given_from_their_thresholds_on(tmp_path: Path) -> None:
    labels = LabelSpec(("anger", "fear", "joy"), "multi_label")
    thresholds = {"anger": 0.9, "fear": 0.2, "joy": None}
    model = save_classifier(tmp_path, labels=labels, record={"thresholds": thresholds})
    export(model, write_answered(tmp_path / "data.csv", model), tmp_path / "out")
    light, clf = LightClassifier.from_folder(tmp_path / "out"), in_torch(model)
    probs = light.predict_probs(TEXTS)
    np.testing.assert_allclose(probs, clf.predict_proba(TEXTS), atol=1e-5)
    assert light.decide(probs).tolist() == (probs >= [0.9, 0.2, 0.5]).tolist()
    assert light.predict(TEXTS) == clf.predict(TEXTS)
    assert len(set(light.predict(TEXTS))) > 1


def test_numbers_are_predicted_as_in_torch(tmp_path: Path) -> None:
    model = save_classifier(tmp_path, labels=LabelSpec(("stars",), "regression"))
    found = export(model, write_answered(tmp_path / "data.csv", model), tmp_path / "out")
    light, clf = LightClassifier.from_folder(tmp_path / "out"), in_torch(model)
    assert light.predict(TEXTS) == pytest.approx(clf.predict(TEXTS).tolist(), abs=1e-4)
    assert found.checks["accuracy"] is None
    assert found.checks["labels_equal"] is None


KINDS = ("single_label", "multi_label", "ordinal", "regression")


@settings(max_examples=60, deadline=None)
@given(
    logits=arrays.arrays(
        np.float32, (3, 4), elements=st.floats(-60, 60, width=32, allow_subnormal=False)
    ),
    kind=st.sampled_from(KINDS),
    thresholds=st.lists(st.none() | st.floats(0, 1), min_size=4, max_size=4),
)
def test_probabilities_and_decisions_are_those_of_the_labels(logits, kind, thresholds) -> None:
    if kind == "regression":
        logits = logits[:, :1]
    spec = LabelSpec(("a", "b", "c", "d")[: logits.shape[1]], kind)
    expected = spec.probs(torch.from_numpy(logits)).double().numpy()
    found = probs_of(kind, logits)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    decisions = spec.decide(torch.from_numpy(expected), thresholds).numpy()
    assert decide(kind, expected, thresholds).tolist() == decisions.tolist()


def test_weights_outside_of_the_file_are_refused_even_if_the_record_names_them(
    folder: Path,
) -> None:
    import onnx

    secret = folder.parent / "secret"
    secret.write_bytes(bytes(4_096))
    (folder / "link").symlink_to(secret)
    for location in ("../secret", str(secret), "link"):
        model = onnx.load(folder / "model.onnx", load_external_data=False)
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.ClearField("external_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        entry = weight.external_data.add()
        entry.key, entry.value = "location", location
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        record = json.loads((folder / RECORD_NAME).read_text())
        record["files_sha256"]["model.onnx"] = file_sha256(folder / "model.onnx")
        (folder / RECORD_NAME).write_text(json.dumps(record))
        with pytest.raises(BackboneError, match="lies in another file"):
            LightClassifier.from_folder(folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", RECORD_NAME])
def test_a_file_that_is_damaged_or_gone_is_told_by_name(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for broken in (content[: len(content) // 2], None):
        (folder / name).unlink()
        if broken is not None:
            (folder / name).write_bytes(broken)
        with pytest.raises(BackboneError) as caught:
            LightClassifier.from_folder(folder)
        assert caught.value.found.startswith(f"{folder / name}: ")
        (folder / name).write_bytes(content)
    assert LightClassifier.from_folder(folder).predict(["a"])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"labels": "abc"}, "labels"),
        ({"labels": []}, "labels"),
        ({"kind": "guess"}, "kind 'guess' is unknown"),
        ({"temperature": 0}, "temperature 0 is no number above 0"),
        ({"thresholds": {"worst": 0.5}}, "thresholds: 'worst'"),
        ({"end_of_text_id": -1}, "end_of_text_id -1 is no token id"),
        ({"reading": {"max_length": 0}}, "max_length 0"),
        ({"files_sha256": {}}, "files_sha256 has no model.onnx"),
        ({"format": 99}, "format 99"),
        ({"fix_text": "yes"}, "fix_text is 'yes'"),
    ],
)
def test_a_record_of_another_form_is_told_by_name(folder: Path, change: dict, found: str) -> None:
    record = json.loads((folder / RECORD_NAME).read_text())
    (folder / RECORD_NAME).write_text(json.dumps({**record, **change}))
    with pytest.raises(BackboneError) as caught:
        LightClassifier.from_folder(folder)
    assert found in caught.value.found
    assert str(folder / RECORD_NAME) in caught.value.found


def test_a_record_with_other_labels_than_the_graph_has_logits_is_refused(folder: Path) -> None:
    record = json.loads((folder / RECORD_NAME).read_text())
    record["labels"].append("worst")
    (folder / RECORD_NAME).write_text(json.dumps(record))
    with pytest.raises(BackboneError, match="a graph of 3 logits and a record of 4 labels"):
        LightClassifier.from_folder(folder)


@pytest.mark.parametrize("name", ["input_ids", "logits"])
def test_a_graph_that_cannot_be_asked_so_is_told_by_name(folder: Path, name: str) -> None:
    import onnx

    model = onnx.load(folder / "model.onnx")
    for value in (*model.graph.input, *model.graph.output):
        if value.name == name:
            value.name = "other"
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["other" if each == name else each for each in names]
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    record = json.loads((folder / RECORD_NAME).read_text())
    record["files_sha256"]["model.onnx"] = file_sha256(folder / "model.onnx")
    (folder / RECORD_NAME).write_text(json.dumps(record))
    with pytest.raises(BackboneError, match="a graph that cannot answer: .*" + name):
        LightClassifier.from_folder(folder)


def test_the_longest_text_is_the_models_limit(exported: Path) -> None:
    light = LightClassifier.from_folder(exported)
    read = light.tokenize(["x" * (LIMIT + 5), "x" * LIMIT])
    assert read.lengths.tolist() == [LIMIT, LIMIT]
    assert read.truncated.tolist() == [True, False]
    assert np.isfinite(light.predict_logits(read)).all()


GONE = """
import importlib.abc, sys

class Gone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in names:
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Gone())
"""
WITHOUT_TORCH = f"""
names = ("torch", "transformers", "sklearn", "scipy", "pyarrow", "datasets", "onnx", "ftfy",
         "huggingface_hub", "safetensors", "accelerate", "peft")
{GONE}
from lasttoken.deploy.light import LightClassifier
clf = LightClassifier.from_folder(sys.argv[1])
print(clf.predict(["a fine film", "", "\u00e9"]))
ours = {{name.partition(".")[0] for name in sys.modules}}
print(sorted(ours & {{*names, "onnxruntime", "tokenizers", "numpy"}}))
"""
PREDICT = f"""
names = ("torch", "transformers", "sklearn", "scipy", "datasets", "onnx", "ftfy")
{GONE}
from lasttoken.cli import main
code = main(["predict", *sys.argv[1:]])
assert not set(names) & set(sys.modules)
sys.exit(code)
"""


def run_fresh(program: str, *words: object) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True, text=True, timeout=120, env=os.environ,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_light_path_runs_where_only_onnxruntime_tokenizers_and_numpy_are(
    exported: Path,
) -> None:
    answers, modules = run_fresh(WITHOUT_TORCH, exported).splitlines()
    light = LightClassifier.from_folder(exported)
    assert answers == str(light.predict(["a fine film", "", "é"]))
    assert modules == "['numpy', 'onnxruntime', 'tokenizers']"


def test_the_command_predicts_with_an_exported_folder_without_torch(
    exported: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in.txt"
    source.write_text("a fine film\n\nno\n")
    rows = run_fresh(PREDICT, exported, source).splitlines()
    assert rows[0] == (
        "text,predicted_label,predicted_probability,probability_bad,probability_fair,"
        "probability_good,num_tokens,truncated"
    )
    assert len(rows) == 4
