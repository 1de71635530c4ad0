"""Acting on scores: temperature in the saved model, texts left to a person, slices and words."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from conftest import FAST, Command, check_refused
from lasttoken import TextClassifier


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.csv"
    path.write_text("text\n" + "".join(f"a wonderful film {n}\ndreadful {n}\n" for n in range(20)))
    return path


def rows_of(path: str | Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def edit_record(run: Path, **values: object) -> None:
    path = run / "model" / "lasttoken.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def level(threshold: float, promised: float, coverage: float) -> dict[str, float]:
    answered = round(1_000 * coverage)
    return {"threshold": threshold, "num_answered": answered, "num_right": round(0.97 * answered),
            "coverage": coverage, "promised": promised}  # fmt: skip


def test_the_temperature_is_in_the_saved_head_and_uncalibrated_takes_it_out(
    lasttoken: Command, run_copy: Path, texts: Path
) -> None:
    record = json.loads((run_copy / "model" / "lasttoken.json").read_text())
    assert record["temperature"] != 1.0
    assert lasttoken("predict", run_copy, texts, "--output", "with.csv").code == 0
    assert lasttoken("predict", run_copy, texts, "--output", "raw.csv", "--uncalibrated").code == 0
    column = "probability_pos"
    scaled = np.array([float(row[column]) for row in rows_of("with.csv")])
    raw = np.array([float(row[column]) for row in rows_of("raw.csv")])
    logits = np.log(raw / (1 - raw))
    error = np.abs(np.log(scaled / (1 - scaled)) - logits / record["temperature"]).max()
    assert error < 1e-5 * max(1, np.abs(logits).max())
    labels = [[row["predicted_label"] for row in rows_of(n)] for n in ("with.csv", "raw.csv")]
    assert labels[0] == labels[1]


def test_fit_calibrates_too_and_saving_keeps_it(tiny_gpt2: Path, tmp_path: Path) -> None:
    texts = [f"{word} film {n}" for n in range(30) for word in ("good", "bad")]
    labels = ["pos", "neg"] * 30
    classifier = TextClassifier(str(tiny_gpt2), num_epochs=1, precision="fp32").fit(texts, labels)
    assert classifier.loaded_.record.temperature != 1.0
    assert len(classifier.loaded_.record.coverage_levels) > 0
    classifier.save_pretrained(tmp_path / "model")
    again = TextClassifier.from_pretrained(tmp_path / "model", precision="fp32")
    assert np.abs(again.predict_proba(texts) - classifier.predict_proba(texts)).max() < 1e-6


def test_the_kept_validation_logits_are_those_of_the_saved_model(finished_run: Path) -> None:
    import pyarrow.parquet as pq

    columns = pq.read_table(finished_run / "predictions" / "validation.parquet").to_pydict()
    texts = {row["text"]: row["label"] for row in rows_of(finished_run.parent / "reviews.csv")}
    assert set(columns["label"]) <= set(texts.values())
    data = [row["text"] for row in rows_of(finished_run.parent / "reviews.csv")]
    kept = [data[row - 1] for row in columns["row"]]
    probs = TextClassifier.from_pretrained(finished_run, precision="fp32").predict_proba(kept)
    assert np.abs(softmax(np.array(columns["logits"]), axis=1) - probs).max() < 1e-5


def test_texts_below_a_probability_are_marked_and_counted(
    lasttoken: Command, run_copy: Path, texts: Path
) -> None:
    lasttoken("predict", run_copy, texts, "--output", "all.csv")
    probs = sorted(float(row["predicted_probability"]) for row in rows_of("all.csv"))
    threshold = (probs[29] + probs[30]) / 2
    outcome = lasttoken(
        "predict", run_copy, texts, "--output", "marked.csv", "--abstain-below", threshold
    )
    assert "30 are left to a person: 25.0% are answered" in outcome.err
    rows = rows_of("marked.csv")
    assert list(rows[0])[-1] == "abstained"
    for row in rows:
        assert row["abstained"] == str(float(row["predicted_probability"]) < threshold).lower()
        assert row["predicted_label"] in ("neg", "pos")
    assert "abstained" not in rows_of("all.csv")[0]


def test_a_target_accuracy_takes_the_widest_threshold_that_promises_it(
    lasttoken: Command, run_copy: Path, texts: Path
) -> None:
    levels = [level(0.9, 0.97, 0.2), level(0.501, 0.95, 0.6), level(0.1, 0.6, 1.0)]
    edit_record(run_copy, coverage_levels=levels)
    outcome = lasttoken(
        "predict", run_copy, texts, "--output", "marked.csv", "--target-accuracy", "0.95"
    )
    assert outcome.code == 0, outcome.err
    assert (
        "target accuracy 0.95: texts below 0.5010 are left to a person; 60.0% of the validation "
        "examples were answered, 97.0% of these rightly" in outcome.err
    )
    for row in rows_of("marked.csv"):
        assert row["abstained"] == str(float(row["predicted_probability"]) < 0.501).lower()


def test_a_target_that_nothing_promises_is_refused_with_what_can_be_had(
    lasttoken: Command, run_copy: Path, texts: Path
) -> None:
    edit_record(run_copy, coverage_levels=[level(0.9, 0.93999, 0.2)])
    check_refused(
        lasttoken("predict", run_copy, texts, "--target-accuracy", "0.95"),
        found="--target-accuracy 0.95: the model's validation examples promise at most 0.939",
        expected="an accuracy that a threshold was found for in training",
        remedy="--target-accuracy 0.939, or train with more validation examples",
    )
    edit_record(run_copy, coverage_levels=[])
    check_refused(
        lasttoken("predict", run_copy, texts, "--target-accuracy", "0.95"),
        found="--target-accuracy 0.95: the model's validation examples promise no threshold",
        expected="an accuracy", remedy="--abstain-below P",
    )  # fmt: skip
    edit_record(run_copy, coverage_levels=[{"threshold": 0.5}])
    check_refused(
        lasttoken("predict", run_copy, texts, "--target-accuracy", "0.95"),
        found="lasttoken.json: coverage_levels or thresholds:",
        expected="what lasttoken train wrote", remedy="restore the file, or train again",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--abstain-below", "1.5"), "--abstain-below 1.5"),
        (("--target-accuracy", "0"), "--target-accuracy 0.0"),
        (
            ("--target-accuracy", "0.9", "--abstain-below", "0.9"),
            "--abstain-below 0.9 and --target-accuracy 0.9",
        ),
        (("--target-accuracy", "0.9", "--uncalibrated"), "--uncalibrated with --target-accuracy"),
    ],
)
def test_settings_at_odds_are_refused(
    lasttoken: Command, run_copy: Path, texts: Path, words: tuple[str, ...], found: str
) -> None:
    outcome = lasttoken("predict", run_copy, texts, *words)
    assert outcome.code == 2
    assert f"error: {found}" in outcome.err


def write_columns(path: Path) -> Path:
    lines = ["text,label,topic,year"]
    lines += [
        f"a {word} film number {n},{label},{('drama', 'war')[n % 2]},{1950 + n}"
        for n in range(40)
        for word, label in (("wonderful", "pos"), ("dreadful", "neg"))
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_to_slice_by_stand_in_the_report_of_training_and_evaluation(
    lasttoken: Command, tiny_gpt2: Path, tmp_path: Path, without_plots: None
) -> None:
    data = write_columns(tmp_path / "films.csv")
    outcome = lasttoken(
        "train", data, "--model", tiny_gpt2, "--output-dir", "run", *FAST, "--slice-by",
        "topic, year", "--precision-at-least", "0.8", "--explain", "integrated-gradients",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert {each["by"] for each in metrics["slices"]} == {
        "length", "label", "column topic", "column year",
    }  # fmt: skip
    assert metrics["thresholds"]["pos"]["precision_at_least"]["wished"] == 0.8
    assert metrics["explained_by"] == "integrated-gradients"
    for each in metrics["errors"]:
        assert "".join(text for text, _ in each["words"]) == each["text"]
    outcome = lasttoken(
        "evaluate", "run", data, "--slice-by", "topic", "--precision-at-least", "0.7",
        "--explain", "none",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    metrics = json.loads(Path("run/evaluations/films/metrics.json").read_text())
    assert {each["by"] for each in metrics["slices"]} == {"length", "label", "column topic"}
    assert metrics["thresholds"]["pos"]["precision_at_least"]["wished"] == 0.7
    assert all("words" not in each for each in metrics["errors"])


def test_a_column_that_is_not_there_is_refused_before_training(
    lasttoken: Command, tiny_gpt2: Path, tmp_path: Path, reviews: Path
) -> None:
    data = write_columns(tmp_path / "films.csv")
    check_refused(
        lasttoken("train", data, "--model", tiny_gpt2, *FAST, "--slice-by", "topics"),
        found="--slice-by topics: the test examples have no column 'topics'",
        expected="one of 'topic', 'year'", remedy="did you mean 'topic'?",
    )  # fmt: skip
    check_refused(
        lasttoken("train", reviews, "--model", tiny_gpt2, *FAST, "--slice-by", "topic"),
        found="--slice-by topic: the test examples have no column 'topic'",
        expected="data with more columns than text and label", remedy="leave --slice-by out",
    )  # fmt: skip


def test_a_wished_precision_needs_the_run_s_validation_examples(
    lasttoken: Command, run_copy: Path, reviews: Path
) -> None:
    (run_copy / "predictions" / "validation.parquet").unlink()
    outcome = lasttoken("evaluate", run_copy, reviews, "--precision-at-least", "0.9")
    assert outcome.code == 2
    assert "error: --precision-at-least 0.9: " in outcome.err
    assert "try: evaluate the run folder, or leave --precision-at-least out" in outcome.err


def test_an_evaluation_tells_contradicting_labels_and_what_it_cost(
    lasttoken: Command, run_copy: Path, tmp_path: Path, without_plots: None
) -> None:
    lines = [f"a film number {n % 3},{label}" for n in range(12) for label in ("pos", "neg")]
    data = tmp_path / "doubtful.csv"
    data.write_text("\n".join(["text,label", *lines]) + "\n")
    outcome = lasttoken("evaluate", run_copy, data, "--label-check")
    assert outcome.code == 0, outcome.err
    folder = run_copy / "evaluations" / "doubtful"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert any("(lasttoken check tells the rows)" in note for note in metrics["notes"])
    assert metrics["run"]["Model"]["precision"].startswith(("bf16", "fp32"))
    assert "GiB" in metrics["run"]["Cost"]["peak memory"]
    assert (folder / "label_issues.csv").is_file()
    assert lasttoken("evaluate", run_copy, data, "--overwrite").code == 0
    assert not (folder / "label_issues.csv").exists()


def test_gradients_need_a_tokenizer_that_tells_where_tokens_stand(
    lasttoken: Command,
    run_copy: Path,
    reviews: Path,
    tiny_gpt2: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # No family of the tests has such a tokenizer: this one says that it is one.
    import transformers

    monkeypatch.setattr(transformers.PreTrainedTokenizerFast, "is_fast", property(lambda _: False))
    words = ("--explain", "integrated-gradients")
    for command in (
        ("evaluate", run_copy, reviews, *words),
        ("train", reviews, "--model", tiny_gpt2, *FAST, *words),
    ):
        check_refused(
            lasttoken(*command),
            found="--explain integrated-gradients: the model's tokenizer",
            expected="a fast tokenizer", remedy="--explain leave-one-out",
        )  # fmt: skip
