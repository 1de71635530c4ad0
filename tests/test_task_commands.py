"""Commands on data of every kind of task: what is read, told, refused and written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from conftest import FAST, Command, check_refused
from lasttoken import TextClassifier
from lasttoken.config import TrainConfig
from lasttoken.events import Event, Note
from lasttoken.runs.examples import read_examples, tell_examples

SETS = ["joy", "", "fear|joy", "anger", "joy | anger"] * 8
LEVELS = ["low", "mid", "high", "low", "mid"] * 8
NUMBERS = ["1.5", "-20", "0", "7e1", "3"] * 8


def write(path: Path, **columns: list[str]) -> Path:
    """Write 40 texts and further columns as CSV."""
    texts = [f"a plain text, number {n}" for n in range(40)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", *columns])
        writer.writerows(zip(texts, *columns.values(), strict=True))
    return path


def labels_read(path: Path, **settings: str) -> list[str]:
    splits = read_examples(TrainConfig(data=str(path), **settings)).splits
    examples = [*splits.train, *splits.validation, *splits.test]
    return [str(e.label) for e in sorted(examples, key=lambda e: e.row)]


# ---- read ----


def test_sets_are_distinct_in_one_order_and_may_be_empty(tmp_path: Path) -> None:
    data = write(tmp_path / "d.csv", labels=SETS)
    found = labels_read(data, task="multi-label")
    assert found[:5] == ["joy", "", "fear|joy", "anger", "anger|joy"]


def test_a_separator_may_be_given(tmp_path: Path) -> None:
    data = write(tmp_path / "d.csv", labels=[each.replace("|", ";") for each in SETS])
    found = labels_read(data, task="multi-label", label_separator=";")
    assert found[2] == "fear;joy"


def test_a_json_list_is_a_set(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "labels": names}
            for n, names in enumerate([["joy", "fear"], [], [3], ["a"]] * 10)]  # fmt: skip
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert labels_read(path, task="multi-label")[:4] == ["fear|joy", "", "3", "a"]


def test_each_label_may_have_a_column_of_0_and_1(tmp_path: Path) -> None:
    columns = {name: [str(int(name in each)) for each in SETS] for name in ("joy", "fear", "anger")}
    data = write(tmp_path / "d.csv", **columns, never=["0"] * 40, id=[str(n) for n in range(40)])
    config = TrainConfig(data=str(data), task="multi-label", label_columns="joy,fear,anger,never")
    read = read_examples(config)
    first = next(e for e in read.splits.train if e.row == 3) if any(
        e.row == 3 for e in read.splits.train) else None  # fmt: skip
    found = labels_read(data, task="multi-label", label_columns="joy,fear,anger,never")
    assert found[:5] == ["joy", "", "fear|joy", "anger", "anger|joy"]
    assert first is None or first.extra == {"id": "2"}
    spec = read.task.spec(found)
    assert spec.labels == ("joy", "fear", "anger", "never")
    assert (read.text_column, read.label_column) == ("text", None)


def test_numbers_are_named_after_their_column(tmp_path: Path) -> None:
    data = write(tmp_path / "d.csv", stars=NUMBERS)
    config = TrainConfig(data=str(data), task="regression", label_column="stars")
    read = read_examples(config)
    assert read.task.spec(NUMBERS).labels == ("stars",)
    assert labels_read(data, task="regression", label_column="stars") == NUMBERS


def test_a_folder_a_label_may_hold_sets(tmp_path: Path) -> None:
    for name in ("joy", "fear", "fear;joy"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for n in range(10):
            (tmp_path / "d" / name / f"{n}.txt").write_text(f"{name} {n}")
    found = labels_read(tmp_path / "d", task="multi-label", label_separator=";")
    assert set(found) == {"joy", "fear", "fear;joy"}


def test_cells_that_look_like_sets_are_told_and_not_guessed(
    lasttoken: Command, tmp_path: Path
) -> None:
    data = write(tmp_path / "d.csv", labels=[each.replace(" ", "") or "none" for each in SETS])
    outcome = lasttoken("check", data)
    assert "looks like sets of labels, such as 'fear|joy'" in outcome.out
    assert "--task multi-label --label-separator '|'" in outcome.out
    assert json.loads(lasttoken("check", data, "--json").out)["labels"]["fear|joy"] == 8
    plain = write(tmp_path / "p.csv", labels=["a|b", "c", "a|b", "c", "d"] * 8)
    assert "looks like sets" not in lasttoken("check", plain).out


def test_check_counts_the_labels_of_sets(lasttoken: Command, tmp_path: Path) -> None:
    data = write(tmp_path / "d.csv", labels=SETS)
    outcome = lasttoken("check", data, "--task", "multi-label", "--json")
    record = json.loads(outcome.out)
    assert record["labels"] == {"joy": 24, "anger": 16, "fear": 8}
    rare = next(each for each in record["findings"] if each["kind"] == "rare_labels")
    assert "'fear' (8)" in rare["found"]


def test_check_tells_what_training_would_refuse(lasttoken: Command, tmp_path: Path) -> None:
    data = write(tmp_path / "d.csv", labels=LEVELS)
    outcome = lasttoken("check", data, "--task", "ordinal")
    assert outcome.code == 2
    assert "the order of the labels is not known" in outcome.out
    assert lasttoken("check", data, "--task", "ordinal", "--label-order", "low,mid,high").code == 1


# ---- refused ----


@pytest.mark.parametrize(
    ("columns", "flags", "lines"),
    [
        ({"labels": ["joy||fear", *SETS[1:]]}, "--task multi-label",
         ("d.csv: row 1, column 'labels': label set 'joy||fear': nothing between", "labels with",
          "mend the set")),
        ({"joy": ["0", "2"] + ["1"] * 38, "fear": ["0"] * 40},
         "--task multi-label --label-columns joy,fear",
         ("d.csv: row 2, column 'joy': '2' is neither 0 nor 1", "0 or 1 in", "mend the cell")),
        ({"joy": ["0"] * 40}, "--task multi-label --label-columns joy,fea",
         ("d.csv: no column 'fea'", "one of 'text', 'joy'", "--label-columns NAME")),
        ({"joy": ["1"] * 40}, "--task multi-label --label-columns joy --label-column joy",
         ("--label-columns joy with --label-column joy", "one column", "leave one")),
        ({"joy": ["1"] * 40}, "--task multi-label --label-columns joy,joy",
         ("--label-columns joy,joy: 'joy' twice", "each label's", "--label-columns joy")),
        ({"joy|x": ["1"] * 40, "fear": ["0"] * 40},
         "--task multi-label --label-columns joy|x,fear",
         ("--label-columns joy|x,fear: label 'joy|x' contains the separator '|'", "labels that",
          "another --label-separator")),
        ({"joy": ["1"] * 40}, "--task multi-label --label-columns ,",
         ("--label-columns ',': no column", "columns of 0", "--label-columns joy,fear")),
        ({"labels": ['[["joy"], "fear"]', *SETS[1:]]}, "--task multi-label",
         ("d.csv: row 1, column 'labels': label set '[[",
          "a list of strings", "mend the list")),
        ({"stars": ["3", "-2e30", *NUMBERS[2:]]}, "--task regression --label-column stars",
         ("d.csv: row 2, column 'stars': label '-2e30' is too large", "-1e+30 to 1e+30", "divide")),
        ({"stars": ["3", "four", *NUMBERS[2:]]}, "--task regression --label-column stars",
         ("d.csv: row 2, column 'stars': label 'four' is no finite number", "numbers", "mend the")),
        ({"stars": ["3", "inf", *NUMBERS[2:]]}, "--task regression --label-column stars",
         ("d.csv: row 2, column 'stars': label 'inf' is no finite", "numbers", "mend the")),
        ({"labels": LEVELS}, "--task ordinal",
         ("ordinal label 'high' is no finite number", "numbers", "--label-order high,low,mid")),
        ({"labels": LEVELS}, "--task ordinal --label-order low,mid,hi",
         ("label 'high' is unknown", "one of 'low', 'mid', 'hi'", "did you mean 'hi'?")),
        ({"labels": LEVELS}, "--task ordinal --label-order low,mid,high,top",
         ("--label-order low,mid,high,top: the training data has no label 'top'", "each", "--l")),
        ({"labels": LEVELS}, "--label-order low,mid,high",
         ("--label-order low,mid,high with --task single-label", "--task ord", "--task ordinal")),
        ({"labels": SETS}, "--task regression --label-separator ;",
         ("--label-separator ; with --task regression", "--task multi", "--task multi-label")),
        ({"labels": ["joy", *SETS[1:]]}, "",
         ("d.csv: row 2, column 'labels': the label is empty", "a label in every row", "fill the")),
    ],
)  # fmt: skip
def test_labels_that_are_not_the_tasks_are_refused_with_their_place(
    lasttoken: Command, tiny_gpt2: Path, columns: dict[str, list[str]], flags: str,
    lines: tuple[str, str, str],
) -> None:  # fmt: skip
    write(Path("d.csv"), **columns)
    outcome = lasttoken("train", "d.csv", "--model", tiny_gpt2, *flags.split())
    check_refused(outcome, found=lines[0], expected=lines[1], remedy=lines[2])


def test_bad_rows_may_be_skipped(lasttoken: Command, tmp_path: Path) -> None:
    data = write(tmp_path / "d.csv", stars=["many", *NUMBERS[1:]])
    config = {"task": "regression", "label_column": "stars"}
    splits = read_examples(TrainConfig(data=str(data), skip_bad_rows=True, **config)).splits
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == 39


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        (["1990", "2000", "2010", "2020"], "subtract 200"),
        (["-1990", "-2000", "-2010", "-2020"], "add 200"),
        (["1", "2", "3", "4"], None),
    ],
)
def test_numbers_far_from_zero_are_told_of_with_what_to_subtract(
    tmp_path: Path, numbers: list[str], told: str | None
) -> None:
    data = write(tmp_path / "d.csv", stars=numbers * 10)
    config = TrainConfig(data=str(data), task="regression", label_column="stars")
    events: list[Event] = []
    tell_examples(read_examples(config), events.append)
    warnings = [each.text for each in events if isinstance(each, Note) and each.is_warning]
    far = [text for text in warnings if "times as far from 0 as from each other" in text]
    assert len(far) == (told is not None)
    assert told is None or told in far[0]


# ---- predicted ----


@pytest.fixture(scope="module")
def models(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each kind of task, trained for an epoch."""
    folder = tmp_path_factory.mktemp("models")
    texts = [f"a plain text, number {n}" for n in range(40)]
    labels = {
        "multi-label": [set(filter(None, each.replace(" ", "").split("|"))) for each in SETS],
        "ordinal": ["1", "2", "10", "1", "2"] * 8,
        "regression": list(map(float, NUMBERS)),
    }
    for task, given in labels.items():
        classifier = TextClassifier(
            str(tiny_gpt2), task=task, num_epochs=1, max_length=32, precision="fp32",
            validation_fraction=0.3,
        )  # fmt: skip
        classifier.fit(texts, given).save_pretrained(folder / task)
    return {task: folder / task for task in labels}


@pytest.mark.parametrize("task", ["multi-label", "ordinal", "regression"])
def test_predictions_are_those_of_the_classifier(
    lasttoken: Command, models: dict[str, Path], task: str
) -> None:
    texts = ["one text", "another, longer text", ""]
    Path("texts.csv").write_text("text\n" + "\n".join(f'"{text}"' for text in texts) + "\n")
    outcome = lasttoken("predict", models[task], "texts.csv", "--precision", "fp32")
    assert outcome.code == 0, outcome.err
    rows = list(csv.DictReader(outcome.out.splitlines()))
    classifier = TextClassifier.from_pretrained(models[task], precision="fp32")
    predicted = classifier.predict(texts)
    if task == "regression":
        assert list(rows[0]) == ["text", "predicted_value", "num_tokens", "truncated"]
        assert [float(row["predicted_value"]) for row in rows] == predicted.tolist()
        return
    probs = classifier.predict_proba(texts)
    for name, column in zip(classifier.classes_, probs.T, strict=True):
        assert [float(row[f"probability_{name}"]) for row in rows] == column.tolist()
    if task == "multi-label":
        assert [row["predicted_labels"] for row in rows] == ["|".join(each) for each in predicted]
    else:
        assert [row["predicted_label"] for row in rows] == predicted.tolist()
        assert list(rows[0])[3:6] == ["probability_1", "probability_2", "probability_10"]


@pytest.mark.parametrize("task", ["multi-label", "regression"])
@pytest.mark.parametrize(
    "flags", ["--abstain-below 0.6", "--target-accuracy 0.9", "--uncalibrated"]
)
def test_flags_about_the_one_label_of_a_text_are_refused(
    lasttoken: Command, models: dict[str, Path], task: str, flags: str
) -> None:
    Path("texts.txt").write_text("one\n")
    outcome = lasttoken("predict", models[task], "texts.txt", *flags.split())
    check_refused(
        outcome,
        found=f"{flags} with a model of task {task}",
        expected="a model of task single-label or ordinal",
        remedy=f"leave {flags.split()[0]} out",
    )


# ---- trained ----


@pytest.mark.parametrize(
    ("task", "columns", "flags"),
    [
        ("multi-label", {"labels": SETS}, ""),
        ("ordinal", {"labels": LEVELS}, "--label-order low,mid,high"),
        ("regression", {"stars": NUMBERS}, "--label-column stars"),
    ],
)
def test_a_run_is_trained_evaluated_and_repeated(
    lasttoken: Command, tiny_gpt2: Path, without_plots: None, task: str,
    columns: dict[str, list[str]], flags: str,
) -> None:  # fmt: skip
    write(Path("d.csv"), **columns)
    words = ["train", "d.csv", "--model", tiny_gpt2, "--output-dir", "run", *FAST,
             "--task", task, *flags.split(), "--test", "0.2", "--validation", "0.2"]  # fmt: skip
    outcome = lasttoken(*words)
    assert outcome.code == 0, outcome.err
    record = json.loads(Path("run/model/lasttoken.json").read_text())
    assert record["task"] == task
    assert json.loads(Path("run/metrics.json").read_text())["task"] == task
    history = json.loads(Path("run/history.jsonl").read_text())
    assert (history["validation_macro_f1"] is None) == (task == "regression")
    outcome = lasttoken("evaluate", "run", "d.csv", "--precision", "fp32")
    assert outcome.code == 0, outcome.err
    outcome = lasttoken("rerun", "run")
    assert outcome.code == 0, outcome.err


def test_the_classifier_of_a_run_can_be_fitted_again_in_the_same_order(
    lasttoken: Command, tiny_gpt2: Path, without_plots: None
) -> None:
    write(Path("d.csv"), labels=LEVELS)
    outcome = lasttoken("train", "d.csv", "--model", tiny_gpt2, "--output-dir", "run", *FAST,
                        "--task", "ordinal", "--label-order", "low,mid,high",
                        "--test", "0.2", "--validation", "0.2")  # fmt: skip
    assert outcome.code == 0, outcome.err
    classifier = TextClassifier.from_pretrained("run")
    assert classifier.label_order == ["low", "mid", "high"]
    again = classifier.fit([f"text {n}" for n in range(30)], ["mid", "low", "high"] * 10)
    assert again.loaded_.classifier.labels.labels == ("low", "mid", "high")


def test_columns_of_0_and_1_are_known_again_when_the_run_is_evaluated(
    lasttoken: Command, tiny_gpt2: Path, without_plots: None
) -> None:
    columns = {name: [str(int(name in each)) for each in SETS] for name in ("joy", "fear", "anger")}
    write(Path("d.csv"), **columns)
    words = ["train", "d.csv", "--model", tiny_gpt2, "--output-dir", "run", *FAST, "--task",
             "multi-label", "--label-columns", "joy,fear,anger", "--validation", "0.2"]  # fmt: skip
    outcome = lasttoken(*words)
    assert outcome.code == 0, outcome.err
    outcome = lasttoken("evaluate", "run", "d.csv", "--precision", "fp32")
    assert outcome.code == 0, outcome.err
    assert "scoring 40 examples (joy 24, anger 16, fear 8; 1.20 labels each, 8 with none)" in (
        outcome.err
    )
    outcome = lasttoken("evaluate", "run", "d.csv", "--label-columns", "joy,fear", "--overwrite")
    check_refused(
        outcome,
        found="--label-columns joy,fear: none for the model's label 'anger'",
        expected="a column of 0 and 1 for each of joy, fear, anger",
        remedy="name them all, or --label-column",
    )
