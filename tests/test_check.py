"""`lasttoken check`: every finding with its rows and its remedy, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import FAST, Command, check_refused

CLEAN = [(f"a {word} film, number {n}", label) for n in range(12)
         for word, label in (("wonderful", "pos"), ("dreadful", "neg"))]  # fmt: skip


def write(path: Path, *more: tuple[str, str], without: int = 0) -> Path:
    """Write 24 clean rows, then others, as CSV."""
    rows = [*CLEAN[without:], *more]
    quoted = ['"{}","{}"'.format(text.replace('"', '""'), label) for text, label in rows]
    path.write_text("\n".join(["text,label", *quoted]) + "\n")
    return path


def findings(lasttoken: Command, *words: object) -> tuple[int, dict[str, dict[str, Any]]]:
    outcome = lasttoken("check", *words, "--json")
    record = json.loads(outcome.out)
    assert record["exit_code"] == outcome.code
    assert record["schema_version"] == 1
    return outcome.code, {finding["kind"]: finding for finding in record["findings"]}


def test_clean_data_is_told_clean(lasttoken: Command, tmp_path: Path) -> None:
    outcome = lasttoken("check", write(tmp_path / "data.csv"))
    assert outcome.code == 0, outcome.out
    assert outcome.out.splitlines()[-1].endswith("0 errors, 0 warnings, 3 notes")
    assert "characters per text" in outcome.out


# One faulty row or more behind 24 clean ones: kind, severity, words of it, rows.
FAULTS: dict[str, tuple[list[tuple[str, str]], str, str, list[int]]] = {
    "lookalike_labels": (
        [("fine", "Pos"), ("fair", "pos ")], "warning",
        "labels that differ only by case or white space: 'Pos' (1) and 'pos' (12) and 'pos ' (1)",
        [25, 26],
    ),
    "rare_labels": (
        [("so so", "mixed")], "warning", "labels of fewer than 10 training examples: 'mixed' (1)",
        [25],
    ),
    "conflicting_labels": (
        [("A wonderful  film, number 0", "neg")], "warning",
        "1 text with more than one label, such as 'neg' and 'pos' for 'a wonderful film, number 0'",
        [1, 25],
    ),
    "copies": (
        [("a wonderful film, number 0", "pos")], "note", "1 text of train that stood there before",
        [25],
    ),
    "empty_texts": (
        [("  ", "pos"), ("", "neg")], "warning", "2 texts without a character to read", [25, 26]
    ),
    "lost_characters": (
        [("caf\ufffd", "pos")], "warning", "1 text with U+FFFD", [25],
    ),
    "broken_unicode": (
        [("the cafÃ© was good", "pos")], "warning", "repaired 'the café was good'", [25],
    ),
    "invisible_characters": (
        [("go\u200bod", "pos"), ("b\u202ead", "neg")], "warning",
        "2 texts with characters that nobody sees: U+200B, U+202E", [25, 26],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_found_with_its_rows_and_a_remedy(
    kind: str, lasttoken: Command, tmp_path: Path
) -> None:
    rows, severity, words, places = FAULTS[kind]
    path = write(tmp_path / "data.csv", *rows)
    code, found = findings(lasttoken, path)
    assert found[kind]["severity"] == severity
    assert words in found[kind]["found"]
    assert [place["row"] for place in found[kind]["places"]] == places
    assert all(place["file"] == str(path) for place in found[kind]["places"])
    assert found[kind]["count"] == len(places)
    assert found[kind]["remedy"]
    severities = {finding["severity"] for finding in found.values()}
    assert code == (1 if "warning" in severities else 0)
    _, clean = findings(lasttoken, write(tmp_path / "clean.csv"))
    assert kind not in clean


def test_texts_of_the_test_that_stand_in_training_are_found(
    lasttoken: Command, tmp_path: Path
) -> None:
    train = write(tmp_path / "data.csv")
    test = tmp_path / "test.csv"
    test.write_text('text,label\n"A wonderful film, number 3",pos\n"new",neg\n')
    code, found = findings(lasttoken, train, "--test", test)
    assert code == 1
    assert found["shared_texts"]["found"].startswith("1 of 2 test texts stand in training too")
    assert found["shared_texts"]["places"] == [{"split": "test", "file": str(test), "row": 1}]


def test_labels_that_training_has_not_are_an_error(lasttoken: Command, tmp_path: Path) -> None:
    train = write(tmp_path / "data.csv")
    test = tmp_path / "test.csv"
    test.write_text("text,label\nnew,pos\nodd,spam\n")
    code, found = findings(lasttoken, train, "--test", test)
    assert code == 2
    assert "label that training has not: 'spam'" in found["unknown_label"]["found"]
    assert found["unknown_label"]["places"][0]["row"] == 2


def test_one_label_only_is_an_error(lasttoken: Command, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,label\na,pos\nb,pos\n")
    code, found = findings(lasttoken, tmp_path / "data.csv")
    assert code == 2
    assert found["one_label"]["found"] == "one label only: 'pos'"


def test_every_bad_row_is_counted_and_the_first_ten_named(
    lasttoken: Command, tmp_path: Path
) -> None:
    path = write(tmp_path / "data.csv")
    with path.open("a") as file:
        file.write("a,b,c\n" * 12)
    code, found = findings(lasttoken, path)
    assert code == 2
    assert found["bad_rows"]["count"] == 12
    assert [place["row"] for place in found["bad_rows"]["places"]] == list(range(25, 35))
    assert "--skip-bad-rows" in found["bad_rows"]["remedy"]
    outcome = lasttoken("check", path)
    assert f"rows: {', '.join(str(n) for n in range(25, 35))} of {path}; 2 more" in outcome.out


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"<html>", b"text,label\n", b'text,label\n"a,b\n', b"PK\x03\x04"]
)
def test_data_that_cannot_be_read_is_an_error_with_the_readers_remedy(
    content: bytes, lasttoken: Command, tmp_path: Path
) -> None:
    (tmp_path / "data.csv").write_bytes(content)
    code, found = findings(lasttoken, tmp_path / "data.csv")
    assert code == 2
    assert str(tmp_path / "data.csv") in found["unreadable"]["found"]
    assert found["unreadable"]["remedy"]


def test_guesses_and_dialect_are_told(lasttoken: Command, tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv")
    path.write_text(path.read_text().replace(",", ";"))
    outcome = lasttoken("check", path)
    assert "note: text column: 'text'" in outcome.out
    assert "columns are separated by semicolons" in outcome.out


def test_a_model_tells_tokens_and_what_it_would_cut(
    lasttoken: Command, tmp_path: Path, tiny_gpt2: Path
) -> None:
    path = write(tmp_path / "data.csv", ("x" * 600, "pos"))
    code, found = findings(lasttoken, path, "--model", tiny_gpt2)
    assert code == 1
    assert "1 texts (4.0%) are cut at 512" in found["cut_texts"]["found"]
    assert found["cut_texts"]["places"][0]["row"] == 25
    code, found = findings(lasttoken, path, "--model", tiny_gpt2, "--max-length", "5")
    assert found["cut_texts"]["count"] == 25


def test_train_warns_of_what_check_finds(
    lasttoken: Command, tmp_path: Path, tiny_gpt2: Path, without_plots: None
) -> None:
    path = write(tmp_path / "data.csv", ("A wonderful  film, number 0", "neg"), ("fine", "Pos"),
                 *[(f"fine {n}", "Pos") for n in range(9)])  # fmt: skip
    outcome = lasttoken("train", path, "--model", tiny_gpt2, *FAST)
    assert outcome.code == 0, outcome.err
    assert "warning: 1 text with more than one label, such as" in outcome.err
    assert "warning: labels that differ only by case or white space: 'Pos' (10)" in outcome.err
    assert "(lasttoken check tells the rows)" in outcome.err


def test_missing_paths_and_models_are_refused(lasttoken: Command, reviews: Path) -> None:
    check_refused(
        lasttoken("check", "revews.csv"),
        found="revews.csv: no such file or folder",
        expected="a path that exists",
        remedy="did you mean reviews.csv?",
    )
    check_refused(
        lasttoken("check", reviews, "--max-length", "5"),
        found="--max-length 5 without --model",
        expected="a model whose tokens are counted",
        remedy="--model gpt2 --max-length 5",
    )
