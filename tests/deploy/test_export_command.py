"""`lasttoken export`: proved on real texts before anything is written, or refused."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from exports import save_classifier, write_answered

from conftest import REVIEWS, Command, Outcome, hash_folder, write_reviews
from lasttoken.data.labels import LabelSpec
from lasttoken.deploy.export import output
from lasttoken.deploy.export import run as export_module
from lasttoken.deploy.light.record import (
    GRAPH_NAME,
    RECORD_NAME,
    TOKENIZER_NAME,
    file_sha256,
)
from lasttoken.runs import predict
from lasttoken.runs.record import open_run_folder

FILES = {GRAPH_NAME, TOKENIZER_NAME, RECORD_NAME}


def check_refused(outcome: Outcome, *, found: str, expected: str, remedy: str) -> None:
    assert outcome.code == 2, outcome.err
    assert outcome.out == ""
    first, second, third = outcome.err.splitlines()[-3:]
    assert first.startswith(f"error: {found}"), first
    assert second.startswith(f"expected: {expected}"), second
    assert third.startswith(f"try: {remedy}"), third


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("kind", ["onnx", "onnx-int8"])
def test_an_exported_run_answers_as_the_run_and_tells_by_how_much(
    lasttoken: Command, run_copy: Path, tmp_path: Path, kind: str
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv")
    before = hash_folder(run_copy)
    outcome = lasttoken("export", run_copy, "--format", kind, "--data", reviews)
    assert outcome.code == 0, outcome.err
    folder = run_copy / "exported" / kind
    assert {path.name for path in folder.iterdir()} == FILES == output.FILES
    assert hash_folder(run_copy) | before == hash_folder(run_copy), "the run stays as it is"
    told = outcome.out.splitlines()
    assert told[0] == f"{kind} and the run on 40 texts (the examples of {reviews})"
    assert [line[2:38].rstrip() for line in told[1:10]] == [
        "labels equal", "largest score difference", "mean score difference",
        "alone and in a batch (40 texts)", "14 unusual texts", "accuracy of the run",
        "accuracy exported", "size", "a text alone",
    ]  # fmt: skip
    assert told[-1] == f"predict   lasttoken predict {folder} FILE"
    record = json.loads((folder / RECORD_NAME).read_text())
    assert record["labels"] == ["neg", "pos"]
    assert record["export_format"] == kind
    assert record["checks"]["num_texts"] == 40
    assert record["checks"]["labels_equal"] >= 0.98
    low, high = record["checks"]["exported_accuracy_interval"]
    assert low <= record["checks"]["exported_accuracy"] <= high
    assert record["files_sha256"]["model.onnx"] == file_sha256(folder / "model.onnx")
    ours = read_csv(lasttoken("predict", run_copy, reviews, "--precision", "fp32").out)
    light = read_csv(lasttoken("predict", folder, reviews).out)
    assert [list(row) for row in light] == [list(row) for row in ours]
    for one, other in zip(light, ours):
        for column in ("text", "label", "predicted_label", "num_tokens", "truncated"):
            assert one[column] == other[column]
        assert float(one["probability_pos"]) == pytest.approx(
            float(other["probability_pos"]), abs=1e-5 if kind == "onnx" else 0.05
        )


def test_a_runs_own_test_examples_are_compared_on_and_few_are_told(
    lasttoken: Command, run_copy: Path
) -> None:
    outcome = lasttoken("export", run_copy)
    assert outcome.code == 0, outcome.err
    assert "warning: only 4 texts to compare on (the run's test examples)" in outcome.err
    assert "onnx and the run on 4 texts (the run's test examples)" in outcome.out


def breaking(change: Callable[[np.ndarray], np.ndarray], name: str):
    """A tracer that changes one weight on the way, as a fault of a library would."""
    from onnx import numpy_helper

    def trace(*words: object):
        graph = export_module_trace(*words)
        for weight in graph.graph.initializer:
            if weight.name == name:
                changed = change(numpy_helper.to_array(weight).copy())
                weight.CopyFrom(numpy_helper.from_array(changed, name))
                return graph
        raise AssertionError(f"no weight {name}")

    return trace


export_module_trace = export_module.trace


SABOTAGES = {
    "head turned": ("score.weight", lambda values: -values),
    "matrix turned": ("decoder.h.1.mlp.c_fc.weight", lambda values: values[::-1]),
    "positions shifted": ("decoder.wpe.weight", lambda values: np.roll(values, 1, axis=0)),
    "no numbers": ("decoder.ln_f.weight", lambda values: values * np.nan),
}
AT_ONCE = {("matrix turned", "onnx"), ("no numbers", "onnx"), ("positions shifted", "onnx-int8")}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=[] if (name, kind) in AT_ONCE else [pytest.mark.slow])
        for name in SABOTAGES
        for kind in ("onnx", "onnx-int8")
    ],
)
def test_a_sabotaged_export_is_refused_and_nothing_is_written(
    lasttoken: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    weight, change = SABOTAGES[name]
    model = save_classifier(tmp_path)
    data = write_answered(tmp_path / "data.csv", model)
    monkeypatch.setattr(export_module, "trace", breaking(change, weight))
    target = tmp_path / "out" / "exported"
    outcome = lasttoken("export", model, "--data", data, "--format", kind, "--output", target)
    check_refused(
        outcome,
        found="the exported model is not the model, nothing was written: ",
        expected="every score and logit within 0.0001" if kind == "onnx" else "98% of the labels",
        remedy="predict with the run itself" if kind == "onnx" else "--format onnx",
    )
    assert list(target.parent.iterdir()) == []


def test_a_small_fault_in_fp32_is_refused_though_every_label_is_right(
    lasttoken: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_classifier(tmp_path)
    data = write_answered(tmp_path / "data.csv", model)
    monkeypatch.setattr(
        export_module, "trace", breaking(lambda values: values * 1.001, "score.weight")
    )
    outcome = lasttoken("export", model, "--data", data)
    assert outcome.code == 2
    assert "a logit differs by 0.001" in outcome.err
    assert "labels are equal" not in outcome.err


def test_a_tokenizer_that_reads_otherwise_is_refused(
    lasttoken: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_classifier(tmp_path)
    data = write_answered(tmp_path / "data.csv", model)
    own = export_module._tokenizer_json

    def lowering(loaded):
        content = json.loads(own(loaded))
        return json.dumps({**content, "normalizer": {"type": "Lowercase"}}).encode()

    monkeypatch.setattr(export_module, "_tokenizer_json", lowering)
    data.write_text(data.read_text().replace("a fine", "A Fine"))
    check_refused(
        lasttoken("export", model, "--data", data),
        found="the exported tokenizer reads 'A Fine film number 0, seen twice' as ",
        expected="the same tokens of every text",
        remedy="predict with the run itself: lasttoken predict RUN INPUT",
    )
    assert not (model / "exported" / "onnx").exists()


def test_texts_to_compare_on_must_be_there(
    lasttoken: Command, run_copy: Path, tmp_path: Path
) -> None:
    check_refused(
        lasttoken("export", run_copy / "model"),
        found=f"{run_copy / 'model'}: no run folder, so there are no texts of its own",
        expected="labeled texts, on which the exported model is compared",
        remedy="--data FILE",
    )
    record = json.loads((run_copy / "run.json").read_text())
    lines = [f"{text},{label}" for text, label in REVIEWS]
    moved = tmp_path / "moved.csv"
    record["data_location"] = str(moved)
    (run_copy / "run.json").write_text(json.dumps(record))
    check_refused(
        lasttoken("export", run_copy),
        found="the run's own texts cannot be read again: ",
        expected="the data that the run was made of",
        remedy="--data FILE",
    )
    moved.write_text(
        "\n".join(["text,label", *(f"new {line}".replace(", ", " ") for line in lines)])
    )
    check_refused(
        lasttoken("export", run_copy),
        found="the run's test examples have changed since: ",
        expected="the data that the run was made of",
        remedy="--data FILE",
    )
    check_refused(
        lasttoken("export", run_copy, "--data", tmp_path / "absent.csv"),
        found=str(tmp_path / "absent.csv"),
        expected="",
        remedy="",
    )


@pytest.mark.parametrize(
    ("family", "changes", "found"),
    [
        ("gpt_neox", {}, "a model of the family gpt_neox"),
        ("mistral", {}, "a model of the family mistral"),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 7,
                   "use_sliding_window": True}, "qwen3 with a sliding window"),
    ],
    ids=["gpt_neox", "mistral", "qwen3"],
)  # fmt: skip
def test_a_family_that_was_not_proved_is_refused_by_name(
    lasttoken: Command, tmp_path: Path, family: str, changes: dict, found: str
) -> None:
    model = save_classifier(tmp_path, family, changes=changes)
    data = write_reviews(tmp_path / "reviews.csv")
    check_refused(
        lasttoken("export", model, "--data", data),
        found=f"{model}: {found}, which cannot be exported",
        expected="a plain model of one of the families gpt2, llama, qwen3",
        remedy="predict with the run itself: lasttoken predict RUN INPUT",
    )


def test_numbers_are_not_exported_in_8_bits(lasttoken: Command, tmp_path: Path) -> None:
    model = save_classifier(tmp_path, labels=LabelSpec(("stars",), "regression"))
    data = write_answered(tmp_path / "data.csv", model)
    check_refused(
        lasttoken("export", model, "--data", data, "--format", "onnx-int8"),
        found="--format onnx-int8 with a model of task regression",
        expected="a model of labels, whose agreement can be counted",
        remedy="--format onnx",
    )


@pytest.mark.slow
def test_an_output_is_replaced_only_if_asked_and_if_it_is_an_export(
    lasttoken: Command, tmp_path: Path
) -> None:
    model = save_classifier(tmp_path)
    data = write_answered(tmp_path / "data.csv", model)
    words = ("export", model, "--data", data, "--output", tmp_path / "out")
    assert lasttoken(*words).code == 0
    before = hash_folder(tmp_path / "out")
    check_refused(
        lasttoken(*words),
        found=f"{tmp_path / 'out'}: exported already",
        expected="a new folder",
        remedy="--overwrite, to export anew",
    )
    assert hash_folder(tmp_path / "out") == before
    outcome = lasttoken(*words, "--format", "onnx-int8", "--overwrite")
    assert outcome.code == 0, outcome.err
    assert json.loads((tmp_path / "out" / RECORD_NAME).read_text())["export_format"] == "onnx-int8"
    (tmp_path / "out" / "notes.txt").write_text("mine")
    check_refused(
        lasttoken(*words, "--overwrite"),
        found=f"{tmp_path / 'out'}: an exported model, and 'notes.txt', which no export wrote",
        expected="a new folder, or an earlier export alone",
        remedy="move the file away, or another --output",
    )
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for name in ("mine", "link"):
        check_refused(
            lasttoken(*words[:-1], tmp_path / name, "--overwrite"),
            found=f"{tmp_path / name}: already there, and no exported model",
            expected="a new folder",
            remedy="another --output",
        )
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


@pytest.mark.slow
def test_what_a_killed_export_left_is_gone_after_the_next(
    lasttoken: Command, run_copy: Path
) -> None:
    folder = run_copy / "exported"
    for name in ("onnx.lasttoken-new-4194305", "onnx.lasttoken-old-4194305"):  # no such process
        (folder / name).mkdir(parents=True)
        (folder / name / "model.onnx").write_bytes(b"half")
    assert lasttoken("export", run_copy).code == 0
    assert [path.name for path in folder.iterdir()] == ["onnx"]


@pytest.mark.slow
def test_a_file_put_there_while_the_export_is_made_is_not_removed(
    lasttoken: Command, run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = run_copy / "exported" / "onnx" / "letter.txt"
    own = export_module.compare

    def slow_compare(*words, **settings):
        letter.parent.mkdir()
        letter.write_text("dear")
        return own(*words, **settings)

    monkeypatch.setattr(export_module, "compare", slow_compare)
    check_refused(
        lasttoken("export", run_copy),
        found=f"{letter.parent}: already there, and no exported model",
        expected="a new folder",
        remedy="another --output",
    )
    assert letter.read_text() == "dear"
    assert [path.name for path in letter.parent.parent.iterdir()] == ["onnx"]


@pytest.mark.slow
def test_plain_dynamic_int8_is_refused(
    lasttoken: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    def plain(graph):
        import onnx

        source, target = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
        source.write_bytes(graph.SerializeToString())
        quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)
        return onnx.load(target)

    model = save_classifier(tmp_path)
    data = write_answered(tmp_path / "data.csv", model)
    monkeypatch.setattr(export_module, "to_int8", plain)
    outcome = lasttoken("export", model, "--data", data, "--format", "onnx-int8")
    assert outcome.code == 2
    assert "a text's score differs by" in outcome.err, "its scale depends on the batch"


def test_without_the_extra_the_packages_are_named(
    lasttoken: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_classifier(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    check_refused(
        lasttoken("export", model, "--data", write_reviews(tmp_path / "reviews.csv")),
        found="onnxscript: not installed",
        expected="the extra 'onnx'",
        remedy="pip install 'lasttoken[onnx]'",
    )


def test_flags_that_an_export_has_settled_are_refused(lasttoken: Command, tmp_path: Path) -> None:
    model = save_classifier(tmp_path)
    data = write_answered(tmp_path / "data.csv", model)
    folder = tmp_path / "out"
    assert lasttoken("export", model, "--data", data, "--output", folder).code == 0
    for flag, value in (("--precision", "bf16"), ("--device", "cuda")):
        check_refused(
            lasttoken("predict", folder, data, flag, value),
            found=f"{flag} {value} with an exported model (out)",
            expected="the precision it was exported with, on the CPU",
            remedy=f"leave {flag} out, or take the run itself",
        )
    check_refused(
        lasttoken("evaluate", folder, data),
        found=f"{folder}: an exported model, without weights that torch could read",
        expected="a run folder",
        remedy="the run that it was exported from",
    )
    assert lasttoken("predict", folder, data, "--precision", "fp32").code == 0
    rows = read_csv(lasttoken("predict", folder, data, "--abstain-below", "0.9").out)
    assert {row["abstained"] for row in rows} == {"true", "false"}
    target = tmp_path / "labels.jsonl"
    outcome = lasttoken("predict", folder, data, "--output", target)
    assert outcome.code == 0
    assert outcome.err.splitlines()[-1] == f"60 texts classified into {target}"
    assert len(target.read_text().splitlines()) == 60


def test_an_interrupted_prediction_of_an_export_goes_on(
    lasttoken: Command, run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write_reviews(tmp_path / "reviews.csv"), tmp_path / "labels.csv"
    assert lasttoken("export", run_copy).code == 0
    words = ("predict", run_copy / "exported" / "onnx", source, "--output", target)
    monkeypatch.setattr(predict, "TEXTS_PER_CHUNK", 20)
    with monkeypatch.context() as patch:
        patch.setattr(predict, "add_rows", interrupt)
        assert lasttoken(*words).code == 130
    assert not target.exists()
    outcome = lasttoken(*words)
    assert outcome.code == 0
    assert "20 texts were classified before the interruption, and not again" in outcome.err
    assert len(read_csv(target.read_text())) == 40


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("setting", ["--limit 0", "--format onnx-int4"])
def test_settings_out_of_range_are_told(lasttoken: Command, run_copy: Path, setting: str) -> None:
    outcome = lasttoken("export", run_copy, *setting.split())
    assert outcome.code == 2
    assert setting.split()[0] in outcome.err


def test_no_command_of_export_opens_a_socket(
    lasttoken: Command, run_copy: Path, opened_sockets: list[str]
) -> None:
    assert lasttoken("export", run_copy).code == 0
    assert (
        lasttoken("predict", run_copy / "exported" / "onnx", write_reviews(Path("in.csv"))).code
        == 0
    )
    assert opened_sockets == []


def test_a_run_that_is_made_anew_loses_the_exports_of_the_old_one(
    run_copy: Path,
) -> None:
    (run_copy / "exported" / "onnx").mkdir(parents=True)
    (run_copy / "exported" / "onnx" / RECORD_NAME).write_text("{}")
    record = json.loads((run_copy / "run.json").read_text())
    open_run_folder(run_copy, record)
    assert not (run_copy / "exported").exists()
