"""What a run reads and leaves: every kind of data, the folder's files, and who may write there."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from conftest import FAST, REVIEWS, Command, check_refused, hash_folder, write_reviews
from lasttoken.config import TrainConfig
from lasttoken.runs.examples import read_examples

HISTORY_KEYS = [
    *("epoch", "step", "train_loss", "train_accuracy"),
    *("validation_loss", "validation_accuracy", "validation_macro_f1", "learning_rate", "seconds"),
]
SCORES = {"accuracy", "macro_f1", "weighted_f1", "log_loss", "num_examples", "per_label",
          "confusion_matrix"}  # fmt: skip


@pytest.fixture
def train(lasttoken: Command, tiny_gpt2: Path, without_plots: None) -> Command:
    return lambda *words: lasttoken("train", "--model", tiny_gpt2, *FAST, *words)


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def write_tree(root: Path, texts: list[tuple[str, str]]) -> Path:
    for number, (text, label) in enumerate(texts):
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / f"{number}.txt").write_text(text + "\n")
    return root


def write_table(path: Path, texts: list[tuple[str, str]]) -> Path:
    if path.suffix == ".jsonl":
        rows = [json.dumps({"text": text, "label": label}) for text, label in texts]
        path.write_text("\n".join(rows))
    elif path.suffix == ".parquet":
        import pyarrow as pa

        pq.write_table(pa.table({"text": [t for t, _ in texts], "label": [n for _, n in texts]}),
                       path)  # fmt: skip
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerows([("text", "label"), *texts])
    return path


# ---- data in ----


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_of_the_same_examples_trains_the_same_model(
    train: Command, finished_run: Path, tmp_path: Path, suffix: str
) -> None:
    data = write_table(tmp_path / f"reviews{suffix}", REVIEWS)
    outcome = train(data)
    assert outcome.code == 0, outcome.err
    run = Path("runs/reviews-tiny-gpt2")
    assert f"report    {run}/report.html" in outcome.out
    for name in ("train", "validation", "test"):
        part = read_json(run / "run.json")["data"][name]
        assert part == read_json(finished_run / "run.json")["data"][name]
    mine, other = (folder / "model/model.safetensors" for folder in (run, finished_run))
    assert mine.read_bytes() == other.read_bytes()


def test_the_folder_of_the_tutorial_trains_and_its_unlabeled_texts_are_left_out(
    train: Command, tmp_path: Path
) -> None:
    root = tmp_path / "aclImdb"
    write_tree(root / "train", [*REVIEWS, ("who knows", "unsup")])
    write_tree(root / "test", [(f"{text}, again", label) for text, label in REVIEWS[:6]])
    (root / "README").write_text("Large Movie Review Dataset")
    outcome = train(root)
    assert outcome.code == 0, outcome.err
    assert "1 texts in train/unsup have no label: left out" in outcome.err
    record = read_json(Path("runs/aclImdb-tiny-gpt2/run.json"))
    assert record["resolved"]["labels"] == ["neg", "pos"]
    assert {name: part["examples"] for name, part in record["data"].items()} == {
        "train": 36, "validation": 4, "test": 6,
    }  # fmt: skip


def test_a_tree_of_label_folders_alone_trains(train: Command, tmp_path: Path) -> None:
    outcome = train(write_tree(tmp_path / "reviews", REVIEWS))
    assert outcome.code == 0, outcome.err
    assert "train: 32 examples (neg 16, pos 16)" in outcome.err


def test_a_folder_of_tables_gives_its_own_splits(train: Command, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    write_table(folder / "train.csv", REVIEWS)
    write_table(folder / "dev.jsonl", [("fine, this one", "pos"), ("poor, this one", "neg")])
    write_table(folder / "test.tsv", [("great, that one", "pos"), ("bad, that one", "neg")])
    assert train(folder).code == 0
    record = read_json(Path("runs/tables-tiny-gpt2/run.json"))
    assert [part["examples"] for part in record["data"].values()] == [40, 2, 2]


def test_test_given_as_a_split_folder_is_its_test_split_alone(
    train: Command, reviews: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_table(other / "train.csv", [(f"train only {n}", "pos") for n in range(9)])
    write_table(other / "test.csv", [("great, that one", "pos"), ("bad, that one", "neg")])
    outcome = train(reviews, "--test", other)
    assert outcome.code == 0, outcome.err
    assert "test: 2 examples (pos 1, neg 1)" in outcome.err


def test_validation_given_as_a_file_uses_the_columns_of_the_training_data(
    train: Command, tmp_path: Path
) -> None:
    data = write_reviews(tmp_path / "data.csv", header="body,title")
    other = tmp_path / "other.csv"
    other.write_text("text,body,title,label\nx,fine film,pos,y\nx,poor film,neg,y\n")
    outcome = train(data, "--text-column", "body", "--label-column", "title", "--validation", other)
    assert outcome.code == 0, outcome.err
    assert "validation: 2 examples (pos 1, neg 1)" in outcome.err
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("text,label\nfine,pos\npoor,neg\n")
    outcome = train(data, "--validation", foreign, "--output-dir", "second",
                    "--text-column", "body", "--label-column", "title")  # fmt: skip
    check_refused(
        outcome,
        found=f"--validation {foreign}: no column 'body'",
        expected="one of 'text', 'label'",
        remedy="--text-column NAME",
        written="runs/data-tiny-gpt2",
    )


def test_guessed_columns_are_guessed_anew_where_another_file_has_not_got_them(
    train: Command, reviews: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("review,sentiment\nfine,pos\npoor,neg\n")
    outcome = train(reviews, "--test", other)
    assert outcome.code == 0, outcome.err
    assert "warning: the columns of training are not there; guessing others" in outcome.err
    assert "text column: 'review' (guessed; --text-column changes it)" in outcome.err


def test_labels_that_differ_only_by_case_or_white_space_are_told(
    train: Command, tmp_path: Path
) -> None:
    rows = [(text, " Pos" if n % 5 == 0 and label == "pos" else label)
            for n, (text, label) in enumerate(REVIEWS)]  # fmt: skip
    outcome = train(write_table(tmp_path / "reviews.csv", rows), "--output-dir", "run")
    assert outcome.code == 0, outcome.err
    told = (
        "labels that differ only by case or white space: &#39; Pos&#39; (4) and &#39;pos&#39; (16)"
    )
    plain = told.replace("&#39;", "'")
    assert f"warning: {plain} (lasttoken check tells the rows)\n" in outcome.err
    assert told in Path("run/report.html").read_text()


@pytest.mark.parametrize(
    "labels", [("NA", "None"), ("1", "01"), ("null", "nan"), ("true", "false"), ("1.0", "1")]
)
def test_labels_survive_as_the_strings_they_are(
    train: Command, lasttoken: Command, tmp_path: Path, labels: tuple[str, str]
) -> None:
    named = dict(zip(("pos", "neg"), labels, strict=True))
    data = write_table(tmp_path / "data.csv", [(text, named[label]) for text, label in REVIEWS])
    assert train(data, "--output-dir", "run").code == 0
    assert read_json(Path("run/run.json"))["resolved"]["labels"] == sorted(labels)
    (tmp_path / "in.txt").write_text("good\nbad\n")
    rows = list(csv.DictReader(io.StringIO(lasttoken("predict", "run", "in.txt").out)))
    assert {row["predicted_label"] for row in rows} <= set(labels)
    assert [column for column in rows[0] if column.startswith("probability_")] == [
        f"probability_{label}" for label in sorted(labels)
    ]
    config = read_json(Path("run/model/config.json"))
    assert list(config["id2label"].values()) == sorted(labels)
    scored = lasttoken("evaluate", "run", data)
    assert scored.code == 0, scored.err
    table = pq.read_table("run/evaluations/data/predictions/test.parquet")
    assert set(table["label"].to_pylist()) == set(labels)


# ---- files out ----


def test_a_run_folder_holds_what_is_promised_and_nothing_else(finished_run: Path) -> None:
    assert sorted(path.name for path in finished_run.iterdir()) == [
        "history.jsonl", "metrics.json", "model", "plots", "predictions", "report.html", "run.json",
    ]  # fmt: skip
    assert sorted(path.name for path in (finished_run / "plots").iterdir()) == [
        f"{name}.{kind}"
        for name in ("accuracy", "confusion_matrix", "coverage", "loss", "precision_recall",
                     "reliability", "roc", "thresholds")
        for kind in ("png", "svg")
    ]  # fmt: skip
    assert sorted(path.name for path in (finished_run / "model").iterdir()) == [
        "README.md", "config.json", "lasttoken.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip


def test_run_json_holds_every_resolved_setting_and_what_it_was_made_with(
    finished_run: Path, tiny_gpt2: Path
) -> None:
    from dataclasses import fields

    from lasttoken.config import TrainConfig

    record = read_json(finished_run / "run.json")
    assert set(record) == {"schema_version", "command", "settings", "data_location",
                           "validation_location", "test_location", "model_location", "resolved",
                           "data", "versions", "machine", "resumed", "results",
                           "status"}  # fmt: skip
    assert record["resumed"] == []
    assert record["status"] == "finished"
    assert record["command"][:2] == ["lasttoken", "train"]
    names = {field.name for field in fields(TrainConfig)}
    names -= {"output_dir", "overwrite", "checkpoint_minutes", "checkpoint_steps", "tracker"}
    assert set(record["settings"]) == names
    assert record["settings"]["model"] == str(tiny_gpt2)
    assert re.fullmatch("[0-9a-f]{64}", record["resolved"].pop("model_sha256"))
    assert record["resolved"] == {
        "max_length": 32, "precision": "fp32", "device": "cpu", "reading_path": "packed",
        "reading_reason": "", "whole_block_reason": "", "long_blocks_reason": "",
        "text_column": "text", "label_column": "label", "text_pair_column": None,
        "window_overlap": 0, "pair_separator": "", "label_weights": None,
        "labels": ["neg", "pos"], "trainable": "full", "depth": 2, "num_blocks": 2,
        "num_epochs": 1, "batch_size": 8, "learning_rate": 0.0009,
    }  # fmt: skip
    for name, examples in (("train", 32), ("validation", 4), ("test", 4)):
        part = record["data"][name]
        assert part["examples"] == examples
        assert re.fullmatch("[0-9a-f]{64}", part["fingerprint"])
        assert re.fullmatch("[0-9a-f]{64}", part["tokens_sha256"])
        assert part["tokens"] > 0
        assert part["texts_cut"] == 0
    assert {"python", "torch", "transformers", "lasttoken"} <= set(record["versions"])
    assert {"processor", "threads", "cores"} <= set(record["machine"])
    results = record["results"]
    assert (results["kept_epoch"], results["steps"]) == (1, 4)
    assert results["peak_memory_bytes"] > 0
    assert (results["depth"], results["num_blocks"], results["probe_table"]) == (2, 2, None)
    assert results["num_trainable_weights"] == results["num_weights"] > 0
    assert {"prepare", "baselines", "train", "save", "evaluate", "measure", "report"} == set(
        results["seconds"]
    )


def test_a_probe_run_leaves_every_ordinary_file_and_its_table(
    train: Command, reviews: Path
) -> None:
    outcome = train(reviews, "--output-dir", "run", "--trainable", "probe", "--depth", "auto")
    assert outcome.code == 0, outcome.err
    record = read_json(Path("run/run.json"))
    resolved, results = record["resolved"], record["results"]
    assert (resolved["trainable"], resolved["depth"], resolved["num_blocks"]) == (
        "probe",
        "auto",
        2,
    )
    table = results["probe_table"]
    assert [row["depth"] for row in table["rows"]] == [1, 2]
    assert set(table["rows"][0]) == {
        "depth",
        "cross_validated_accuracy",
        "validation_accuracy",
        "C",
    }
    assert results["depth"] in (1, 2)
    assert results["steps"] == 0
    assert "cross-validated" in outcome.err
    (line,) = Path("run/history.jsonl").read_text().splitlines()
    assert json.loads(line)["epoch"] == 1
    kept = read_json(Path("run/model/lasttoken.json"))["settings"]
    assert (kept["trainable"], kept["depth"]) == ("probe", "auto")
    assert kept["num_blocks_kept"] == results["depth"]
    report = Path("run/report.html").read_text(encoding="utf-8")
    assert "Probes" in report
    assert read_json(Path("run/model/config.json"))["n_layer"] == results["depth"]


def test_history_has_a_line_an_epoch(train: Command, reviews: Path) -> None:
    assert (
        train(reviews, "--output-dir", "run", "--num-epochs", "2", "--batch-size", "16").code == 0
    )
    lines = [json.loads(line) for line in Path("run/history.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == [HISTORY_KEYS, HISTORY_KEYS]
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 2), (2, 4)]


def test_metrics_json_holds_test_validation_and_baselines(finished_run: Path) -> None:
    metrics = read_json(finished_run / "metrics.json")
    assert metrics["schema_version"] == 2
    assert metrics["labels"] == ["neg", "pos"]
    for part in (metrics["test"], metrics["validation"], *metrics["baselines"].values()):
        assert set(part) >= SCORES
        matrix = part["confusion_matrix"]
        assert sum(map(sum, matrix)) == part["num_examples"] == 4
        assert sum(matrix[n][n] for n in range(2)) / 4 == part["accuracy"]
    assert set(metrics["baselines"]) == {"majority", "tfidf_logistic_regression"}
    assert isinstance(metrics["verdict"], str)


def test_predictions_hold_row_hash_label_and_logits_of_each_example(finished_run: Path) -> None:
    for name in ("validation", "test"):
        table = pq.read_table(finished_run / "predictions" / f"{name}.parquet")
        assert table.column_names == ["file", "row", "text_sha256", "label", "logits"]
        for row in table.to_pylist():
            text, label = REVIEWS[row["row"] - 1]
            assert row["label"] == label
            assert row["text_sha256"] == hashlib.sha256(text.encode()).hexdigest()
            assert len(row["logits"]) == 2


def test_the_report_asks_for_nothing_from_elsewhere(finished_run: Path) -> None:
    page = (finished_run / "report.html").read_text()
    plain = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)  # names of SVG's vocabularies, never fetched
    targets = re.findall(r"""(?:src|href|action|srcset)\s*=\s*["']?([^"'>\s]*)""", plain)
    targets += re.findall(r"""url\(["']?([^"')]*)""", plain)
    assert [target for target in targets if not target.startswith(("#", "data:"))] == []
    assert not re.findall(r"(?:https?|ftp|file):|<script|@import", plain)


def test_saved_model_gives_plain_transformers_the_same_answers(
    lasttoken: Command, finished_run: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    texts = ["a wonderful film", "dreadful", "it ends in <|endoftext|>", "x" * 100, "äöü 中文"]
    (tmp_path / "in.txt").write_text("\n".join(texts))
    ours = list(csv.DictReader(io.StringIO(
        lasttoken("predict", finished_run, "in.txt", "--precision", "fp32").out
    )))  # fmt: skip
    folder = finished_run / "model"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == 32
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)
    for batch_size in (1, len(texts)):
        answers = classify(texts, batch_size=batch_size, truncation=True)
        for row, scores in zip(ours, answers, strict=True):
            assert row["predicted_label"] == scores[0]["label"]
            for score in scores:
                expected = float(row[f"probability_{score['label']}"])
                assert score["score"] == pytest.approx(expected, abs=1e-5)


# ---- the output folder ----


def rerun(lasttoken: Command, run: Path, *words: str):
    command = read_json(run / "run.json")["command"][1:]
    command[command.index("--output-dir") + 1] = str(run)
    return lasttoken(*command, *words)


def test_a_finished_run_run_again_prints_its_results_and_changes_no_byte(
    lasttoken: Command, run_copy: Path
) -> None:
    before = hash_folder(run_copy)
    outcome = rerun(lasttoken, run_copy)
    assert outcome.code == 0
    first, *lines = outcome.out.splitlines()
    assert first == f"{run_copy} holds this very run, finished; nothing was changed"
    metrics = read_json(run_copy / "metrics.json")
    assert lines[0] == "test on 4 examples              accuracy  macro F1  log loss"
    assert lines[1].split()[2] == f"{metrics['test']['accuracy']:.3f}"
    assert metrics["verdict"] in outcome.out
    assert hash_folder(run_copy) == before


def test_other_settings_in_the_folder_of_a_run_are_refused_by_name(
    lasttoken: Command, run_copy: Path
) -> None:
    before = hash_folder(run_copy)
    check_refused(
        rerun(lasttoken, run_copy, "--seed", "7", "--num-epochs", "2"),
        found=f"--output-dir {run_copy}: holds a run with other settings: num_epochs, seed",
        expected="a folder that does not exist or is empty",
        remedy="another --output-dir, or --overwrite to replace what an earlier run wrote",
    )
    assert hash_folder(run_copy) == before


def test_another_report_of_a_finished_run_is_refused_with_the_command_that_makes_it(
    lasttoken: Command, run_copy: Path
) -> None:
    check_refused(
        rerun(lasttoken, run_copy, "--precision-at-least", "0.9"),
        found=f"--output-dir {run_copy}: holds a run with other settings: precision_at_least",
        expected="a folder that does not exist or is empty",
        remedy="lasttoken evaluate RUN DATA takes these flags too; or another --output-dir",
    )


def test_a_finished_run_of_a_version_without_these_settings_is_still_this_run(
    lasttoken: Command, run_copy: Path
) -> None:
    record = read_json(run_copy / "run.json")
    for name in ("slice_by", "precision_at_least", "explain", "label_check"):
        del record["settings"][name]
    (run_copy / "run.json").write_text(json.dumps(record))
    outcome = rerun(lasttoken, run_copy)
    assert outcome.code == 0, outcome.err
    assert "holds this very run, finished; nothing was changed" in outcome.out


def test_an_unfinished_run_of_other_data_is_refused_by_name(
    lasttoken: Command, run_copy: Path
) -> None:
    record = read_json(run_copy / "run.json")
    (run_copy / "run.json").write_text(json.dumps({**record, "status": "unfinished"}))
    data = Path(record["command"][2])
    before = data.read_text()
    try:
        data.write_text(before.replace("wonderful", "terrific"))
        check_refused(
            rerun(lasttoken, run_copy),
            found=f"--output-dir {run_copy}: holds an unfinished run that began with other things: "
            "train data, validation data, test data",
            expected="what the run began with, to go on from where it was",
            remedy="bring that back, or another --output-dir, or --overwrite to begin anew",
        )
    finally:
        data.write_text(before)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("data", "train", "tokens_sha256"), "other", "the tokenizer"),
        (("resolved", "model_sha256"), "other", "the model's weights"),
        (("resolved", "labels"), ["neg", "other"], "the labels"),
        (("resolved", "precision"), "bf16", "the precision (bf16, now fp32)"),
        (("resolved", "max_length"), 31, "the length at which texts are cut (31, now 32)"),
        (("resolved", "batch_size"), 7, "the default batch_size (7, now "),
    ],
)
def test_an_unfinished_run_that_began_with_something_else_is_refused_by_name(
    path: tuple[str, ...], value: object, named: str, lasttoken: Command, run_copy: Path
) -> None:
    record = read_json(run_copy / "run.json")
    place = record
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (run_copy / "run.json").write_text(json.dumps({**record, "status": "unfinished"}))
    check_refused(
        rerun(lasttoken, run_copy),
        found=f"--output-dir {run_copy}: holds an unfinished run that began with other things: "
        f"{named}",
        expected="what the run began with",
        remedy="bring that back",
    )


def test_an_unfinished_run_goes_on_with_a_warning_where_threads_or_versions_differ(
    lasttoken: Command, run_copy: Path, without_plots: None
) -> None:
    record = read_json(run_copy / "run.json")
    record["machine"]["threads"] = 64
    record["versions"]["torch"] = "2.0.0"
    (run_copy / "run.json").write_text(json.dumps({**record, "status": "unfinished"}))
    outcome = rerun(lasttoken, run_copy)
    assert outcome.code == 0, outcome.err
    assert "warning: the run began with torch 2.0.0, now " in outcome.err
    threads = torch.get_num_threads()
    assert f"threads 64, now {threads}: its last bits may differ" in outcome.err
    assert read_json(run_copy / "run.json")["status"] == "finished"


def test_a_second_run_in_one_folder_is_refused_and_told_the_first_process(
    lasttoken: Command, run_copy: Path
) -> None:
    from lasttoken.runs.lock import run_lock

    record = read_json(run_copy / "run.json")
    process = {"pid": 4711, "host": "here"}
    unfinished = {**record, "status": "unfinished", "process": process}
    (run_copy / "run.json").write_text(json.dumps(unfinished))
    with run_lock(run_copy):
        for more in ((), ("--overwrite",)):
            check_refused(
                rerun(lasttoken, run_copy, *more),
                found=f"--output-dir {run_copy}: process 4711 on here is at work in it",
                expected="a folder that no other run writes",
                remedy="wait for it or stop it, or another --output-dir",
            )


def test_a_crash_behind_the_last_word_leaves_a_finished_run(
    lasttoken: Command, run_copy: Path
) -> None:
    (run_copy / "checkpoints" / "000001-step-4").mkdir(parents=True)
    (run_copy / "checkpoints" / "000001-step-4" / "state.json").write_text("{}")
    (run_copy / "checkpoints" / "notes.txt").write_text("mine")
    before = hash_folder(run_copy / "model")
    assert rerun(lasttoken, run_copy).code == 0
    assert [path.name for path in (run_copy / "checkpoints").iterdir()] == ["notes.txt"]
    assert hash_folder(run_copy / "model") == before


def test_too_little_room_for_checkpoints_is_told_before_training(
    lasttoken: Command, reviews: Path, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch,
    without_plots: None,
) -> None:  # fmt: skip
    words = ("train", reviews, "--model", tiny_gpt2, "--output-dir", "run", *FAST)
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(".")._replace(free=1_000_000)
        patch.setattr("lasttoken.training.saver.shutil.disk_usage", lambda folder: usage)
        outcome = lasttoken(*words)
    assert outcome.code == 2
    found, expected, remedy = outcome.err.splitlines()[-3:]
    assert found.startswith("error: --output-dir run: checkpoints of 0.0 GB do not fit, 0.0 GB are")
    assert expected.startswith("expected: room for 3 checkpoints, of which two to five are kept")
    assert remedy.startswith("try: make room")
    assert lasttoken(*words).code == 0  # with room, the same command


def test_overwrite_replaces_what_a_run_wrote_and_leaves_foreign_files_alone(
    lasttoken: Command, run_copy: Path, without_plots: None
) -> None:
    (run_copy / "notes.md").write_text("mine")
    (run_copy / "evaluations" / "old").mkdir(parents=True)
    outcome = rerun(lasttoken, run_copy, "--seed", "7", "--overwrite")
    assert outcome.code == 0, outcome.err
    assert read_json(run_copy / "run.json")["settings"]["seed"] == 7
    assert (run_copy / "notes.md").read_text() == "mine"
    assert not (run_copy / "evaluations").exists()
    assert len((run_copy / "history.jsonl").read_text().splitlines()) == 1


def test_overwrite_never_removes_the_model_it_starts_from(
    lasttoken: Command, run_copy: Path, reviews: Path
) -> None:
    before = hash_folder(run_copy)
    check_refused(
        lasttoken("train", reviews, "--model", run_copy / "model", "--output-dir", run_copy,
                  "--overwrite"),
        found=f"--output-dir {run_copy} --overwrite: would remove --model {run_copy / 'model'}",
        expected="a run folder that holds none of the run's own input",
        remedy="another --output-dir",
    )  # fmt: skip
    assert hash_folder(run_copy) == before


def test_a_finished_run_on_data_that_has_changed_since_is_refused(
    lasttoken: Command, tmp_path: Path, reviews: Path, tiny_gpt2: Path, without_plots: None
) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(reviews.read_bytes())
    words = ("train", data, "--model", tiny_gpt2, "--num-epochs", "1", "--output-dir", "changing")
    assert lasttoken(*words).code == 0
    assert lasttoken(*words).code == 0
    with data.open("a") as file:
        file.write(data.read_text().splitlines()[1].replace("a", "o") + "\n")
    check_refused(
        lasttoken(*words),
        found="--output-dir changing: holds this run on other data",
        expected="the data of the finished run, or a new folder",
        remedy="another --output-dir, or --overwrite",
    )


def test_overwrite_with_bad_input_destroys_nothing(lasttoken: Command, run_copy: Path) -> None:
    before = hash_folder(run_copy)
    outcome = rerun(lasttoken, run_copy, "--overwrite", "--max-length", "9999")
    check_refused(
        outcome,
        found="--max-length 9999: more than model",
        expected="at most 512 tokens",
        remedy="--max-length 512",
    )
    assert hash_folder(run_copy) == before


def test_the_same_command_twice_trains_the_same_bytes(
    train: Command, reviews: Path, finished_run: Path
) -> None:
    assert train(reviews, "--output-dir", "again").code == 0
    for name in ("model/model.safetensors", "predictions/test.parquet"):
        if name.endswith("safetensors"):
            assert (Path("again") / name).read_bytes() == (finished_run / name).read_bytes()
        else:
            first, second = (pq.read_table(folder / name)["logits"].to_pylist()
                             for folder in (Path("again"), finished_run))  # fmt: skip
            assert first == second


# ---- evaluate ----


def test_evaluate_scores_other_data_beside_the_run(
    lasttoken: Command, run_copy: Path, tmp_path: Path
) -> None:
    before = hash_folder(run_copy)
    other = write_table(tmp_path / "other.csv", [("fine film", "pos"), ("poor film", "neg")] * 3)
    outcome = lasttoken("evaluate", run_copy, other, "--precision", "fp32")
    assert outcome.code == 0, outcome.err
    folder = run_copy / "evaluations" / "other"
    assert f"report    {folder}/report.html" in outcome.out
    metrics = read_json(folder / "metrics.json")
    assert metrics["test"]["num_examples"] == 6
    assert set(metrics["test"]) >= SCORES
    assert set(metrics["baselines"]) == {"majority", "tfidf_logistic_regression"}
    assert pq.read_table(folder / "predictions" / "test.parquet").num_rows == 6
    assert {"report.html", "metrics.json", "plots", "predictions"} == {
        path.name for path in folder.iterdir()
    }
    after = hash_folder(run_copy)
    assert {name: after[name] for name in before} == before
    done = hash_folder(folder)
    check_refused(
        lasttoken("evaluate", run_copy, other),
        found=f"{folder}: this evaluation is there already",
        expected="data that was not evaluated before",
        remedy="--overwrite, to make it anew",
    )
    assert hash_folder(folder) == done
    assert lasttoken("evaluate", run_copy, other, "--overwrite").code == 0


def test_evaluate_tells_how_many_of_its_texts_were_trained_on(
    lasttoken: Command, run_copy: Path, tmp_path: Path, without_plots: None
) -> None:
    settings = read_json(run_copy / "run.json")["settings"]
    seen = [example.text for example in read_examples(TrainConfig(**settings)).splits.train]
    rows = [("fine film", "pos"), (seen[0], "neg"), (seen[1].upper(), "pos")]
    other = write_table(tmp_path / "other.csv", rows)
    outcome = lasttoken("evaluate", run_copy, other)
    assert outcome.code == 0, outcome.err
    told = "2 of 3 scored texts stand in the run's training data too"
    assert f"warning: {told}" in outcome.err
    report = (run_copy / "evaluations" / "other" / "report.html").read_text()
    assert told.replace("'", "&#39;") in report
    write_table(other, rows[:1])
    outcome = lasttoken("evaluate", run_copy, other, "--overwrite")
    assert "training data too" not in outcome.err


def test_evaluations_of_two_files_of_one_name_stand_beside_each_other(
    lasttoken: Command, run_copy: Path, tmp_path: Path, without_plots: None
) -> None:
    rows = [("fine film", "pos"), ("poor film", "neg")]
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        write_table(tmp_path / str(number) / "other.csv", rows * number)
    folders = [run_copy / "evaluations" / name for name in ("other", "other-2")]
    for number, folder in enumerate(folders, start=1):
        outcome = lasttoken("evaluate", run_copy, f"{number}/other.csv")
        assert outcome.code == 0, outcome.err
        assert read_json(folder / "metrics.json")["test"]["num_examples"] == 2 * number
    for number, folder in enumerate(folders, start=1):
        outcome = lasttoken("evaluate", run_copy, tmp_path / str(number) / "other.csv")
        assert outcome.code == 2
        assert f"{folder}: this evaluation is there already" in outcome.err


def test_evaluate_takes_a_column_given_as_text_even_if_it_was_the_label_of_training(
    lasttoken: Command, run_copy: Path, tmp_path: Path, without_plots: None
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("label,verdict\nfine film,pos\npoor film,neg\n")
    outcome = lasttoken("evaluate", run_copy, other, "--text-column", "label")
    assert outcome.code == 0, outcome.err
    assert "label column: 'verdict' (guessed" in outcome.err


def test_evaluating_the_test_split_gives_the_scores_of_the_run(
    train: Command, lasttoken: Command, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    write_tree(root / "train", REVIEWS)
    write_tree(root / "test", [(f"{text}, again", label) for text, label in REVIEWS[:7]])
    assert train(root, "--output-dir", "run").code == 0
    assert lasttoken("evaluate", "run", root, "--precision", "fp32").code == 0
    at_training = read_json(Path("run/metrics.json"))["test"]
    assert read_json(Path("run/evaluations/data/metrics.json"))["test"] == at_training


def test_evaluate_refuses_a_label_unknown_to_the_model_and_writes_nothing(
    lasttoken: Command, run_copy: Path, tmp_path: Path
) -> None:
    other = write_table(tmp_path / "other.csv", [("fine film", "pos"), ("so so", "meh")])
    check_refused(
        lasttoken("evaluate", run_copy, other),
        found="label 'meh' is unknown",
        expected="one of 'neg', 'pos'",
        remedy="remove it, or train with it",
    )
    assert not (run_copy / "evaluations").exists()


def test_evaluate_of_a_model_folder_has_no_baselines_and_says_why(
    lasttoken: Command, run_copy: Path, tmp_path: Path, without_plots: None
) -> None:
    other = write_table(tmp_path / "other.csv", [("fine film", "pos"), ("poor film", "neg")])
    outcome = lasttoken("evaluate", run_copy / "model", other)
    assert outcome.code == 0, outcome.err
    assert "no baselines: this is no run folder" in outcome.err
    assert read_json(run_copy / "model/evaluations/other/metrics.json")["baselines"] == {}


def test_evaluate_has_no_baselines_where_the_training_data_is_gone_or_changed(
    train: Command, lasttoken: Command, reviews: Path, tmp_path: Path
) -> None:
    assert train(reviews, "--output-dir", "run").code == 0
    other = write_table(tmp_path / "other.csv", [("fine film", "pos"), ("poor film", "neg")])
    reviews.write_text(reviews.read_text().replace("wonderful", "brilliant"))
    outcome = lasttoken("evaluate", "run", other)
    assert outcome.code == 0, outcome.err
    assert "no baselines: the training data has changed since the run" in outcome.err
    shutil.move(reviews, tmp_path / "elsewhere.csv")
    outcome = lasttoken("evaluate", "run", other, "--overwrite")
    assert outcome.code == 0, outcome.err
    assert "no baselines: the training data cannot be read again" in outcome.err
