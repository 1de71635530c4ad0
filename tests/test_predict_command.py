"""`lasttoken predict`: every format in and out, order and columns kept, nothing left half done."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Command, check_refused, hash_folder

TEXTS = ["a wonderful film", "dreadful, from start to end", "", "so so\nbut long", '"quoted"']
ADDED = ["predicted_label", "predicted_probability", "probability_neg", "probability_pos",
         "num_tokens", "truncated"]  # fmt: skip


def write_input(path: Path, texts: list[str] = TEXTS) -> Path:
    """Write rows with a column in front of the text and one behind it, by the path's format."""
    rows = [{"id": f"0{n}", "text": text, "note": "NA"} for n, text in enumerate(texts)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    return path


def read_output(content: str | Path) -> list[dict[str, str]]:
    """Read predictions back as strings, by the path's format, or CSV from standard output."""
    if isinstance(content, Path) and content.suffix == ".parquet":
        return [{key: spell(value) for key, value in row.items()}
                for row in pq.read_table(content).to_pylist()]  # fmt: skip
    if isinstance(content, Path) and content.suffix == ".jsonl":
        lines = content.read_text().splitlines()
        return [{key: spell(value) for key, value in json.loads(line).items()} for line in lines]
    delimiter = "\t" if isinstance(content, Path) and content.suffix == ".tsv" else ","
    text = content.read_bytes().decode() if isinstance(content, Path) else content
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


def spell(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.fixture
def predict(lasttoken: Command, finished_run: Path) -> Command:
    return lambda *words: lasttoken("predict", finished_run, *words, "--precision", "fp32")


@pytest.fixture
def give_stdin(monkeypatch: pytest.MonkeyPatch):
    def give(content: bytes) -> None:
        stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))
        monkeypatch.setattr(sys, "stdin", stdin)

    return give


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_rows_keep_their_order_and_columns_in_every_format(
    predict: Command, tmp_path: Path, suffix: str, kind: str
) -> None:
    texts = [*TEXTS, "carriage\rreturn"] if kind != ".tsv" else TEXTS
    source = write_input(tmp_path / f"in{suffix}", texts)
    target = tmp_path / f"out{kind}"
    outcome = predict(source, "--output", target)
    assert outcome.code == 0, outcome.err
    assert outcome.out == ""
    assert f"{len(texts)} texts classified into {target}" in outcome.err
    rows = read_output(target)
    assert [row["text"] for row in rows] == texts
    assert [row["id"] for row in rows] == [f"0{n}" for n in range(len(texts))]
    assert {row["note"] for row in rows} == {"NA"}
    assert list(rows[0]) == ["id", "text", "note", *ADDED]
    for row in rows:
        probs = {label: float(row[f"probability_{label}"]) for label in ("neg", "pos")}
        assert sum(probs.values()) == pytest.approx(1, abs=1e-6)
        assert row["predicted_label"] == max(probs, key=lambda label: probs[label])
        assert float(row["predicted_probability"]) == max(probs.values())
        assert row["num_tokens"] == str(max(1, len(row["text"].encode())))
        assert row["truncated"] == "false"


def test_plain_lines_get_a_text_column_and_standard_output_is_csv_alone(
    predict: Command, tmp_path: Path
) -> None:
    source = tmp_path / "texts.txt"
    source.write_bytes(b"good\n\nbad, and dull\r\nno newline at its end")
    outcome = predict(source)
    assert outcome.code == 0, outcome.err
    rows = read_output(outcome.out)
    assert [row["text"] for row in rows] == ["good", "", "bad, and dull", "no newline at its end"]
    assert list(rows[0]) == ["text", *ADDED]
    assert rows[1]["num_tokens"] == "1", "an empty text is one end-of-text token"
    assert outcome.err.splitlines()[-1] == "4 texts classified"


def test_standard_input_is_lines_unless_told_otherwise(predict: Command, give_stdin) -> None:
    give_stdin(b"good\ntext,label\n")
    assert [row["text"] for row in read_output(predict("-").out)] == ["good", "text,label"]
    give_stdin(b'id,text\n7,"good, really"\n')
    rows = read_output(predict("-", "--format", "csv").out)
    assert [(row["id"], row["text"]) for row in rows] == [("7", "good, really")]
    give_stdin(b'{"text": "good"}\n{"text": "bad"}\n')
    assert len(read_output(predict("-", "--format", "jsonl").out)) == 2
    give_stdin(b"")
    check_refused(
        predict("-"),
        found="standard input: the file is empty",
        expected="text with at least one row",
        remedy="check that the file was written completely",
    )
    give_stdin(b"PAR1")
    check_refused(
        predict("-", "--format", "parquet"),
        found="standard input: Parquet cannot be read from a pipe",
        expected="a .parquet file, or lines, CSV, TSV or JSONL on standard input",
        remedy="save it to a file first, and name that file",
    )


def test_a_row_gets_the_same_answer_whatever_stands_beside_it(
    predict: Command, tmp_path: Path
) -> None:
    together = read_output(predict(write_input(tmp_path / "all.csv")).out)
    for number, text in enumerate(TEXTS):
        alone = read_output(predict(write_input(tmp_path / f"{number}.csv", [text])).out)
        assert {key: alone[0][key] for key in ADDED} == {
            key: together[number][key] for key in ADDED
        }


def test_long_texts_are_cut_marked_and_counted(predict: Command, tmp_path: Path) -> None:
    texts = ["short", "x" * 32, "x" * 33, "y" * 5000]
    outcome = predict(write_input(tmp_path / "in.csv", texts))
    rows = read_output(outcome.out)
    assert [row["truncated"] for row in rows] == ["false", "false", "true", "true"]
    assert [row["num_tokens"] for row in rows] == ["5", "32", "33", "5000"]
    assert [row["text"] for row in rows] == texts
    assert "4 texts classified, 2 of them cut at the model's limit" in outcome.err
    assert rows[1]["predicted_probability"] == rows[2]["predicted_probability"]


def test_more_rows_than_one_chunk_holds_keep_their_order(
    predict: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lasttoken.runs.predict.TEXTS_PER_CHUNK", 3)
    texts = [f"film number {n}" + "!" * (n % 5) for n in range(10)]
    rows = read_output(predict(write_input(tmp_path / "in.csv", texts)).out)
    assert [row["text"] for row in rows] == texts


def test_the_text_column_is_that_of_training_else_given_else_guessed(
    predict: Command, tmp_path: Path
) -> None:
    file = tmp_path / "in.csv"
    file.write_text("review,text\nA,B\n")
    assert read_output(predict(file).out)[0]["num_tokens"] == "1"
    file.write_text("review,n\nABCD,5\n")
    outcome = predict(file)
    assert "text column: 'review' (guessed; --text-column changes it)" in outcome.err
    assert read_output(outcome.out)[0]["num_tokens"] == "4"
    assert read_output(predict(file, "--text-column", "n").out)[0]["num_tokens"] == "1"
    check_refused(
        predict(file, "--text-column", "reviw"),
        found=f"{file}: no column 'reviw'",
        expected="one of 'review', 'n'",
        remedy="did you mean --text-column review?",
    )


def test_columns_that_predict_appends_may_not_be_there_already(
    predict: Command, tmp_path: Path
) -> None:
    first = tmp_path / "first.csv"
    assert predict(write_input(tmp_path / "in.csv"), "--output", first).code == 0
    check_refused(
        predict(first, "--output", tmp_path / "second.csv"),
        found=f"{first}: has a column 'predicted_label' of its own",
        expected="none of the columns that predict appends: predicted_label",
        remedy="rename column 'predicted_label'",
    )
    assert not (tmp_path / "second.csv").exists()


def test_an_output_that_cannot_be_written_is_told_before_the_model_is_read(
    lasttoken: Command, tmp_path: Path
) -> None:
    source, target = write_input(tmp_path / "in.csv"), tmp_path / "out.csv"
    target.write_text("precious")
    (tmp_path / "config.json").write_text("no model")
    check_refused(
        lasttoken("predict", tmp_path, source, "--output", target),
        found=f"{target}: exists already",
        expected="an output file that does not exist yet",
        remedy="--overwrite, or another name",
    )


@pytest.mark.parametrize("words", [(), ("--shard", "1/2"), ("--skip-bad-rows",)])
def test_the_input_is_never_written_over(
    predict: Command, tmp_path: Path, words: tuple[str, ...]
) -> None:
    source = write_input(tmp_path / "in.csv")
    before = source.read_bytes()
    (tmp_path / "link.csv").symlink_to(source)
    for output in (source, tmp_path / "." / "in.csv", tmp_path / "link.csv"):
        check_refused(
            predict(source, "--output", output, "--overwrite", *words),
            found=f"--output {output}: the input itself",
            expected="another file, so that no row of the input can be lost",
            remedy=f"--output {output.with_name(output.stem + '-labels.csv')}",
        )
    assert source.read_bytes() == before


def test_an_existing_output_is_replaced_only_with_overwrite(
    predict: Command, tmp_path: Path
) -> None:
    source, target = write_input(tmp_path / "in.csv"), tmp_path / "out.csv"
    target.write_text("precious")
    check_refused(
        predict(source, "--output", target),
        found=f"{target}: exists already",
        expected="an output file that does not exist yet",
        remedy="--overwrite, or another name",
    )
    assert target.read_text() == "precious"
    assert predict(source, "--output", target, "--overwrite").code == 0
    assert len(read_output(target)) == len(TEXTS)


def test_an_output_of_unknown_kind_or_in_no_folder_is_refused(
    predict: Command, tmp_path: Path
) -> None:
    source = write_input(tmp_path / "in.csv")
    check_refused(
        predict(source, "--output", "labels.xlsx"),
        found="--output labels.xlsx: unknown kind of table '.xlsx'",
        expected="a name that ends in .csv, .tsv, .jsonl or .parquet",
        remedy="--output labels.csv",
    )
    check_refused(
        predict(source, "--output", tmp_path / "missing" / "labels.csv"),
        found=f"{tmp_path}/missing/labels.csv: its folder {tmp_path}/missing does not exist",
        expected="an existing folder",
        remedy=f"mkdir -p {tmp_path / 'missing'}",
    )


def test_a_bad_row_leaves_no_output_behind_and_can_be_skipped(
    predict: Command, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_text('{"text": "good"}\n{"text": null}\n{"text": "bad"}\n')
    check_refused(
        predict(source, "--output", target),
        found=f"{source}: row 2, column 'text': no value (null)",
        expected="a value in every row",
        remedy="fill the cell, or give --skip-bad-rows",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    outcome = predict(source, "--output", target, "--skip-bad-rows")
    assert outcome.code == 0
    assert f"warning: {source}: 1 bad row skipped; first row 2" in outcome.err
    assert [row["text"] for row in read_output(target)] == ["good", "bad"]


def test_a_missing_input_or_model_is_refused(
    predict: Command, lasttoken: Command, tiny_gpt2: Path, tmp_path: Path
) -> None:
    source = write_input(tmp_path / "reviews.csv")
    check_refused(
        predict(tmp_path / "reviws.csv"),
        found=f"{tmp_path / 'reviws.csv'}: no such file or folder",
        expected="a path that exists",
        remedy=f"did you mean {source}?",
    )
    check_refused(
        lasttoken("predict", tmp_path / "no-run", source),
        found=f"{tmp_path / 'no-run'}: no such folder",
        expected="a run folder (with model/ inside) or a model folder (with config.json)",
        remedy="check the path, or train first: lasttoken train DATA --output-dir",
    )
    check_refused(
        lasttoken("predict", tmp_path, source),
        found=f"{tmp_path}: no model in this folder",
        expected="a run folder (with model/ inside) or a model folder (with config.json)",
        remedy="check the path, or train first",
    )
    check_refused(
        lasttoken("predict", tiny_gpt2, source),
        found=f"{tiny_gpt2}: a language model without a trained classification head",
        expected="a folder made by lasttoken train",
        remedy=f"train one first: lasttoken train DATA --model {tiny_gpt2}",
    )


def test_the_model_folder_alone_predicts_as_its_run_does_and_neither_is_changed(
    predict: Command, lasttoken: Command, finished_run: Path, tmp_path: Path
) -> None:
    before = hash_folder(finished_run)
    source = write_input(tmp_path / "in.csv")
    by_run = predict(source).out
    by_model = lasttoken("predict", finished_run / "model", source, "--precision", "fp32").out
    assert by_model == by_run
    assert hash_folder(finished_run) == before


def test_bf16_is_chosen_for_prediction_whatever_training_used(
    lasttoken: Command, finished_run: Path, tmp_path: Path
) -> None:
    source = write_input(tmp_path / "in.csv")
    exact = read_output(lasttoken("predict", finished_run, source, "--precision", "fp32").out)
    rough = read_output(lasttoken("predict", finished_run, source, "--precision", "bf16").out)
    pairs = [(float(a["probability_pos"]), float(b["probability_pos"]))
             for a, b in zip(exact, rough, strict=True)]  # fmt: skip
    assert all(a == pytest.approx(b, abs=0.05) for a, b in pairs)
    assert any(a != b for a, b in pairs)
