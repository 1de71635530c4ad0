"""Runs of label sets, ordered labels and numbers by command: measured, reported, compared."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pages import check_numbers

from conftest import Command, check_refused

WORDS = ("fine", "poor", "loud")
FAST = ("--num-epochs", "1", "--max-length", "32", "--precision", "fp32")
FLAGS = {
    "multi-label": ("--task", "multi-label"),
    "ordinal": ("--task", "ordinal", "--label-order", "low,mid,high"),
    "regression": ("--task", "regression"),
}
OURS = (
    "95 % intervals", "95 % confidence", "--target-accuracy 0.95", "at 5 % over all groups",
    "a probability of 0.8, 80 % should be right", "a probability of 0.8, 80 % of the texts",
    "0 to 1", "F1",
)  # fmt: skip


def rows_of(task: str, count: int = 120) -> list[tuple[str, str, str]]:
    """Return text, label and a further column."""
    rows = []
    for number in range(count):
        has = [word for place, word in enumerate(WORDS) if number >> place & 1]
        label = {
            "multi-label": "|".join(sorted(has)),
            "ordinal": ("low", "mid", "high")[min(len(has), 2)],
            "regression": str(len(has) + number % 5 / 10),
        }[task]
        rows.append((f"a {' '.join(has)} film, number {number}", label, "ab"[number % 2]))
    return rows


def write(path: Path, task: str, count: int = 120) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label", "source"), *rows_of(task, count)])
    return path


@pytest.fixture(scope="module")
def runs(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a finished run of each task; for reading only."""
    from lasttoken.cli import main

    folder = tmp_path_factory.mktemp("runs")
    for task, flags in FLAGS.items():
        data = write(folder / f"{task}.csv", task)
        words = ["train", data, "--model", tiny_gpt2, "--output-dir", folder / task, "--slice-by",
                 "source", "--validation", "0.2", "--test", "0.2", *flags, *FAST]  # fmt: skip
        assert main([str(word) for word in words]) == 0
    return {task: folder / task for task in FLAGS}


def read(run: Path) -> Any:
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def predicted(run: Path) -> tuple[list[str], Any]:
    """Return the true labels and the logits of the test examples."""
    table = pq.read_table(run / "predictions" / "test.parquet").to_pydict()
    return table["label"], np.array(table["logits"])


def test_the_scores_of_sets_are_those_of_the_kept_predictions(runs: dict[str, Path]) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    metrics = read(runs["multi-label"])
    labels, logits = predicted(runs["multi-label"])
    assert metrics["labels"] == sorted(WORDS)
    truth = np.array([[word in label.split("|") for word in sorted(WORDS)] for label in labels])
    record = json.loads((runs["multi-label"] / "model" / "lasttoken.json").read_text())
    thresholds = np.array([record["thresholds"][word] for word in sorted(WORDS)])
    given = 1 / (1 + np.exp(-logits)) >= thresholds
    test = metrics["test"]
    assert test["macro_f1"] == pytest.approx(f1_score(truth, given, average="macro"))
    assert test["subset_accuracy"] == pytest.approx(accuracy_score(truth, given))
    assert [test["per_label"][word]["threshold"] for word in sorted(WORDS)] == thresholds.tolist()
    assert set(metrics["baselines"]) == {"tfidf_logistic_regression", "commonest_set"}
    assert metrics["baselines"]["tfidf_logistic_regression"]["macro_f1"] > 0.9


def test_the_scores_of_numbers_are_those_of_the_kept_predictions(runs: dict[str, Path]) -> None:
    metrics = read(runs["regression"])
    labels, logits = predicted(runs["regression"])
    errors = logits[:, 0] - np.array([float(label) for label in labels])
    assert metrics["test"]["mae"] == pytest.approx(np.abs(errors).mean())
    assert metrics["test"]["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert set(metrics["baselines"]) == {"tfidf_ridge", "mean"}
    assert [each["level"] for each in metrics["ranges"]] == [0.5, 0.8, 0.9, 0.95]


def test_the_scores_of_ordered_labels_are_those_of_the_kept_predictions(
    runs: dict[str, Path],
) -> None:
    metrics = read(runs["ordinal"])
    labels, logits = predicted(runs["ordinal"])
    assert metrics["labels"] == ["low", "mid", "high"]
    truth = np.array([metrics["labels"].index(label) for label in labels])
    distance = np.abs(logits.argmax(axis=1) - truth)
    assert metrics["test"]["mae"] == pytest.approx(distance.mean())
    assert metrics["test"]["accuracy"] == pytest.approx((distance == 0).mean())


@pytest.mark.parametrize("task", FLAGS)
def test_every_number_of_the_report_is_one_of_the_file(runs: dict[str, Path], task: str) -> None:
    page = (runs[task] / "report.html").read_text(encoding="utf-8")
    page = re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    page = re.sub(r'<td class="number">\d+</td>', "", page)
    metrics = read(runs[task])
    assert metrics["task"] == task
    assert check_numbers(page, metrics, OURS) > 100
    assert {each["by"] for each in metrics["slices"]} >= {"length", "column source"}
    assert all("words" in each for each in metrics["errors"])
    card = (runs[task] / "model" / "README.md").read_text(encoding="utf-8")
    assert metrics["verdict"][:40] in card.replace("\\", "")


@pytest.mark.parametrize("task", FLAGS)
def test_an_evaluation_of_the_same_examples_gives_the_same_scores(
    lasttoken: Command, runs: dict[str, Path], tmp_path: Path, task: str
) -> None:
    import shutil

    run = shutil.copytree(runs[task], tmp_path / "run")
    table = pq.read_table(run / "predictions" / "test.parquet").to_pydict()
    by_row = rows_of(task)
    with Path("again.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [by_row[row - 1] for row in table["row"]]
        csv.writer(file).writerows([("text", "label", "source"), *rows])
    outcome = lasttoken("evaluate", run, "again.csv", "--precision", "fp32", "--slice-by", "source")
    assert outcome.code == 0, outcome.err
    again, before = read(run / "evaluations" / "again"), read(run)
    assert again["test"] == before["test"]
    assert again["verdict"] == before["verdict"]
    for name, each in before["baselines"].items():
        assert again["baselines"][name]["difference"] == each["difference"]
    outcome = lasttoken("compare", run, run / "evaluations" / "again", "--output-dir", "both")
    assert outcome.code == 0, outcome.err
    content = json.loads(Path("both/comparison.json").read_text(encoding="utf-8"))
    assert (content["task"], content["pairs"][0]["better"]) == (task, None)
    one, other = content["runs"].values()
    assert one == other
    page = re.sub(r"<svg.*?</svg>", "", Path("both/report.html").read_text(), flags=re.DOTALL)
    assert check_numbers(page, content, ("95 % intervals", "in 95 of 100 cases", "F1")) > 20


def test_runs_of_different_tasks_are_not_compared(
    lasttoken: Command, runs: dict[str, Path]
) -> None:
    check_refused(
        lasttoken("compare", runs["ordinal"], runs["regression"]),
        found=f"{runs['regression']}: its task is regression",
        expected=f"that of {runs['ordinal']}: ordinal",
        remedy="compare runs of one task",
    )


@pytest.mark.parametrize(
    ("task", "words", "found", "remedy"),
    [
        ("multi-label", ("--explain", "integrated-gradients"),
         "--explain integrated-gradients: the task is multi-label", "--explain leave-one-out"),
        ("regression", ("--explain", "integrated-gradients"),
         "--explain integrated-gradients: the task is regression", "--explain leave-one-out"),
        ("multi-label", ("--label-check",), "--label-check: the task is multi-label", "leave it"),
        ("regression", ("--label-check",), "--label-check: the task is regression", "leave it out"),
        ("regression", ("--precision-at-least", "0.9"),
         "--precision-at-least 0.9: the task is regression", "leave it out; the report tells how"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_in_a_task_is_refused_before_the_work(
    lasttoken: Command, tiny_gpt2: Path, tmp_path: Path, task: str, words: tuple[str, ...],
    found: str, remedy: str,
) -> None:  # fmt: skip
    data = write(tmp_path / "data.csv", task)
    check_refused(
        lasttoken("train", data, "--model", tiny_gpt2, *FLAGS[task], *FAST, *words),
        found=found, expected="a task ", remedy=remedy,
    )  # fmt: skip
