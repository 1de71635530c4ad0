"""`check_labels`: planted wrong labels come out with their texts, in a record and as CSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from families import save_decoder
from lasttoken import DatasetError, TextClassifier
from lasttoken.data.examples import Example
from lasttoken.data.splits import Splits
from lasttoken.evaluation import label_issues
from lasttoken.events import Event, Note
from lasttoken.runs import label_check
from lasttoken.runs.label_check import CheckedSplit, check_labels, check_labels_of
from lasttoken.training.preparation import PreparedTraining

COLUMNS = ["split", "file", "row", "text", "label", "suggested_label", "label_probability",
           "suggested_probability"]  # fmt: skip
WORDS = {"good": "aaaa", "bad": "zzzz"}
WRONG = [("train", 12), ("train", 31), ("validation", 4), ("test", 9)]  # split, row


def examples(split: str, count: int) -> tuple[Example, ...]:
    made = []
    for row in range(1, count + 1):
        label = ("good", "bad")[row % 2]
        text = f'{row * 37} "{WORDS[label]}",\n{WORDS[label]}'
        if (split, row) in WRONG:
            label = ("bad", "good")[row % 2]
        made.append(Example(text, label, file=f"{split}.csv", row=row))
    return tuple(made)


SPLITS = Splits(examples("train", 60), examples("validation", 20), examples("test", 20))


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_issues, "RESAMPLES", 100)


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedTraining:
    folder = save_decoder(tmp_path / "gpt2", initializer_range=0.05)
    classifier = TextClassifier(str(folder), precision="fp32", device="cpu")
    return classifier.prepare(SPLITS.train, SPLITS.validation)


def check(prepared: PreparedTraining, folder: Path, *events: list[Event]) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    heard: list[Event] = events[0] if events else []
    test_texts = prepared.tokenize(SPLITS.test)
    return check_labels(prepared, SPLITS, test_texts, folder=folder, seed=1, on_event=heard.append)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "label_issues.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert reader.fieldnames == COLUMNS
    return rows


def test_wrong_labels_of_every_split_come_out_with_their_texts(
    prepared: PreparedTraining, tmp_path: Path
) -> None:
    events: list[Event] = []
    record = check(prepared, tmp_path / "run", events)
    assert sorted((issue["split"], issue["row"]) for issue in record["issues"]) == sorted(WRONG)
    for issue in record["issues"]:
        (example,) = (e for e in getattr(SPLITS, issue["split"]) if e.row == issue["row"])
        assert list(issue) == COLUMNS
        assert (issue["file"], issue["text"]) == (example.file, example.text)
        assert issue["label"] == example.label != issue["suggested_label"]
        assert issue["label_probability"] < 0.5 < issue["suggested_probability"]
    assert record["num_issues"] == 4
    assert record["num_examples"] == 100
    assert sorted(record["depths"]) == [1, 2]
    assert record["out_of_fold_accuracy"] == 0.96
    low, high = record["noise_rate_interval"]
    assert low <= record["noise_rate"] <= high
    assert low <= 0.04 <= high
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    (note,) = (event for event in events if isinstance(event, Note))
    assert note.text == (
        f"label check: 4 of 100 labels look wrong ({tmp_path / 'run' / 'label_issues.csv'}); "
        f"at most about {record['noise_rate']:.1%} of all are ({low:.1%} to {high:.1%}), "
        "by heads that agree with 96.0% of the labels"
    )


def test_the_csv_says_what_the_record_says(prepared: PreparedTraining, tmp_path: Path) -> None:
    record = check(prepared, tmp_path / "run")
    typed = [
        {**row, "row": int(row["row"]),
         **{name: float(row[name]) for name in COLUMNS if name.endswith("probability")}}
        for row in rows_of(tmp_path / "run")
    ]  # fmt: skip
    assert typed == record["issues"]


def test_the_csv_holds_all_and_the_record_the_first(
    prepared: PreparedTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_check, "MAX_SHOWN", 2)
    record = check(prepared, tmp_path / "run")
    assert record["num_issues"] == len(rows_of(tmp_path / "run")) == 4
    assert [issue["row"] for issue in record["issues"]] == [
        int(row["row"]) for row in rows_of(tmp_path / "run")[:2]
    ]


def test_the_check_again_gives_the_same_bytes_and_leaves_the_model_alone(
    prepared: PreparedTraining, tmp_path: Path
) -> None:
    weights = prepared.loaded.classifier.state_dict()
    before = {name: weight.clone() for name, weight in weights.items()}
    state = torch.get_rng_state()
    first = check(prepared, tmp_path / "run")
    content = (tmp_path / "run" / "label_issues.csv").read_bytes()
    assert check(prepared, tmp_path / "run") == first
    assert (tmp_path / "run" / "label_issues.csv").read_bytes() == content
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], weight) for name, weight in weights.items())


def test_training_after_the_check_is_training_without_it(
    prepared: PreparedTraining, tmp_path: Path
) -> None:
    settings = {"precision": "fp32", "device": "cpu", "num_epochs": 1}
    trained = []
    for is_checked in (True, False):
        classifier = TextClassifier(str(tmp_path / "gpt2"), **settings)
        ready = classifier.prepare(SPLITS.train, SPLITS.validation)
        if is_checked:
            check(ready, tmp_path / "run")
        classifier.train(ready)
        trained.append(classifier.loaded_.classifier.state_dict())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_a_fitted_classifier_checks_one_split_of_other_data(
    prepared: PreparedTraining, tmp_path: Path
) -> None:
    classifier = TextClassifier(str(tmp_path / "gpt2"), precision="fp32", device="cpu")
    classifier.train(prepared)
    texts = classifier.tokenize([example.text for example in SPLITS.train])
    record = check_labels_of(
        classifier.loaded_.classifier,
        [CheckedSplit("test", SPLITS.train, texts)],
        device=torch.device("cpu"),
        precision="fp32",
        folder=tmp_path,
        seed=1,
        on_event=[].append,
    )
    assert {(issue["split"], issue["row"]) for issue in record["issues"]} >= {
        ("test", row) for split, row in WRONG if split == "train"
    }
    assert len(rows_of(tmp_path)) == record["num_issues"]


def test_examples_of_one_label_cannot_be_judged_and_leave_a_csv_of_column_names(
    prepared: PreparedTraining, tmp_path: Path
) -> None:
    events: list[Event] = []
    same = tuple(example for example in SPLITS.train if example.label == "good")
    record = check_labels_of(
        prepared.loaded.classifier,
        [CheckedSplit("test", same, prepared.tokenize(same))],
        device=torch.device("cpu"),
        precision="fp32",
        folder=tmp_path,
        seed=1,
        on_event=events.append,
    )
    assert (record["num_issues"], record["issues"], record["noise_rate"]) == (0, [], None)
    assert events[-1] == Note(
        "label check: the frozen model cannot judge these labels: its heads agree with 100.0% of "
        "them, always saying the commonest label with 100.0%",
        is_warning=True,
    )
    assert rows_of(tmp_path) == []


def test_an_unknown_label_is_told_before_the_pass(
    prepared: PreparedTraining, tmp_path: Path
) -> None:
    other = (Example("fine", "mixed", row=1),)
    with pytest.raises(DatasetError, match="'mixed'"):
        check_labels_of(
            prepared.loaded.classifier,
            [CheckedSplit("test", other, prepared.tokenize(other))],
            device=torch.device("cpu"),
            precision="fp32",
            folder=tmp_path,
            seed=1,
            on_event=lambda event: pytest.fail(f"told {event}"),
        )
    assert not (tmp_path / "label_issues.csv").exists()
