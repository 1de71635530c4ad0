"""Reading tables: every value as written, every fault named with its place."""

from __future__ import annotations

import io
import re
import string
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lasttoken.data.tables import iter_rows
from lasttoken.data.writers import open_writer
from lasttoken.errors import DatasetError
from lasttoken.events import Note


def rows_of(path: Path | str, **settings: Any) -> list[dict[str, str | None]]:
    return [row for _, row in iter_rows(str(path), **settings)]


def write(folder: Path, content: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def fault(path: Path | str, **settings: Any) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        rows_of(path, **settings)
    return caught.value


def test_values_are_the_strings_that_were_written(tmp_path: Path) -> None:
    path = write(tmp_path, "text,label\nNA,null\n1.0,01\nNone,True\n ,\n")
    assert rows_of(path) == [
        {"text": "NA", "label": "null"},
        {"text": "1.0", "label": "01"},
        {"text": "None", "label": "True"},
        {"text": " ", "label": ""},
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_ending_and_quoted_newlines_are_read(tmp_path: Path, end: str) -> None:
    path = write(tmp_path, f'text,label{end}"a\nb",x{end}{end}c,y{end}')
    assert rows_of(path) == [{"text": "a\nb", "label": "x"}, {"text": "c", "label": "y"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "text,label\ncliché,x\n".encode(encoding))
    reader = iter_rows(str(path))
    assert reader.columns == ("text", "label")
    assert list(reader) == [(1, {"text": "cliché", "label": "x"})]


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_the_header_tells_another_separator_and_a_note_says_so(
    tmp_path: Path, mark: str, name: str
) -> None:
    path = write(tmp_path, f"text{mark}label\nwell, very, good{mark}x\n")
    events: list[Any] = []
    assert rows_of(path, on_event=events.append) == [{"text": "well, very, good", "label": "x"}]
    assert name in events[0].text


def test_a_text_far_beyond_the_default_field_limit_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "text,label\n" + "a" * 1_000_000 + ",x\n")
    assert len(rows_of(path)[0]["text"] or "") == 1_000_000


def test_json_numbers_keep_their_spelling_and_null_is_none(tmp_path: Path) -> None:
    lines = (
        '{"text": "a", "label": 1.0, "n": 10000000000000000000000, "b": true}\n'
        "\n"
        '{"text": null, "label": NaN, "nest": {"a": [1, 2.5]}}\n'
    )
    path = write(tmp_path, lines, "data.jsonl")
    reader = iter_rows(str(path))
    assert reader.columns == ("text", "label", "n", "b", "nest")
    assert list(reader) == [
        (1, {"text": "a", "label": "1.0", "n": "1" + "0" * 22, "b": "true", "nest": None}),
        (3, {"text": None, "label": "NaN", "n": None, "b": None, "nest": '{"a": [1, 2.5]}'}),
    ]


def test_parquet_values_become_strings(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    table = pa.table({"text": ["a", None], "label": [True, False], "n": [1, 2], "v": [[1], [2, 3]]})
    pq.write_table(table, path)
    assert rows_of(path) == [
        {"text": "a", "label": "true", "n": "1", "v": "[1]"},
        {"text": None, "label": "false", "n": "2", "v": "[2, 3]"},
    ]


def test_plain_lines_lose_their_line_ending_only(tmp_path: Path) -> None:
    path = write(tmp_path, " a \r\n\n\u2028b,c\t\n", "lines.txt")
    assert rows_of(path) == [{"text": " a "}, {"text": ""}, {"text": "\u2028b,c\t"}]


def test_standard_input_is_read_as_lines_and_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO("one\ntwo é\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert rows_of("-") == [{"text": "one"}, {"text": "two é"}]
    assert not stdin.buffer.closed


def test_rows_are_streamed_not_held(tmp_path: Path) -> None:
    path = write(tmp_path, "text,label\n" + "a,x\n" * 5000 + "a,x,y\n")
    numbers = iter(iter_rows(str(path)))
    assert [next(numbers)[0] for _ in range(5000)] == list(range(1, 5001))
    with pytest.raises(DatasetError, match="row 5,001"):
        next(numbers)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "the file is empty"),
        ("text,label\n", "no rows below the column names"),
        ("text,text\na,b\n", "2 columns are named 'text'"),
        (b"PK\x03\x04rest", "zip archive or an .xlsx"),
        (b"\x1f\x8brest", "gzip"),
        (b"PAR1rest", "Parquet"),
        (b"%PDF-1.4", "PDF"),
        (b"text,label\na\0b,x\n", "binary data"),
        ("\n <!DOCTYPE html><html>", "an HTML page"),
        ("<HTML>,x\n", "an HTML page"),
        ("text,label\na,x\nb\n", r"row 2 \(line 3\) has 1 fields, the first line has 2"),
        ('text,label\n"a\nb",x\nb,c,y\n', r"row 2 \(line 4\) has 3 fields"),
        ('text,label\na,x\n"b,x\nc,x\n', r"a quote opens in row 2 \(line 3\) and never closes"),
        ('text,label\n"b,x\n"c",x\n', r"opens in row 1 \(line 2\), closes in line 3"),
        ('text,label\n"b"c,x\n', r"row 1 \(line 2\): text goes on behind a closing quote"),
    ],
)
def test_each_broken_csv_has_its_own_message(
    tmp_path: Path, content: str | bytes, found: str
) -> None:
    error = fault(write(tmp_path, content))
    assert re.search(found, error.found), error.found
    assert "data.csv" in error.found
    assert len(str(error).splitlines()) == 3


def test_a_wrong_encoding_names_the_byte_and_the_flag(tmp_path: Path) -> None:
    content = b"text,label\n" + b"a,x\n" * 300_000 + "cliché,x\n".encode("cp1252")
    path = write(tmp_path, content)
    error = fault(path)
    assert f"byte 0xe9 at byte {len(content) - 4:,} (line 300,002) is not utf-8" in error.found
    assert error.remedy.startswith("--encoding cp1252")
    assert rows_of(path, encoding="cp1252")[-1]["text"] == "cliché"


def test_a_character_cut_at_the_end_of_the_file_is_placed(tmp_path: Path) -> None:
    assert "at byte 12 (line 2)" in fault(write(tmp_path, b"text,label\na\xc3")).found


def test_utf_16_without_its_mark_is_told(tmp_path: Path) -> None:
    error = fault(write(tmp_path, "text,label\na,x\n"), encoding="utf-16")
    assert "does not start with BOM" in error.found
    assert "utf-16-le" in error.remedy


@pytest.mark.parametrize("name", ["utf-9", "base64", "a\0b"])
def test_an_unknown_encoding_is_named(tmp_path: Path, name: str) -> None:
    error = fault(write(tmp_path, "text,label\na,x\n"), encoding=name)
    assert error.found.startswith("--encoding")


def test_a_missing_path_suggests_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "text,label\na,x\n", "reviews.csv")
    error = fault(tmp_path / "reviws.csv")
    assert error.remedy == f"did you mean {tmp_path / 'reviews.csv'}?"


def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "data.csv").mkdir()
    assert "a folder" in fault(tmp_path / "data.csv").found


def test_an_unknown_extension_is_told(tmp_path: Path) -> None:
    assert "unknown kind of file '.xlsx'" in fault(write(tmp_path, "x", "data.xlsx")).found


def test_a_file_that_is_no_parquet_is_told(tmp_path: Path) -> None:
    assert "no Parquet file" in fault(write(tmp_path, "text,label\n", "data.parquet")).found


def test_a_parquet_file_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"]), path)
    error = fault(path)
    assert error.found == f"{path}: 2 columns are named 'text'"
    assert error.remedy == "rename one of them in the program that wrote the file"


def test_a_damaged_row_group_is_told_behind_the_rows_before_it(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    texts = [f"text {n}" for n in range(3000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=1500, use_dictionary=False)
    place = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[place + 200 : place + 400] = b"\xff" * 200
    path.write_bytes(content)
    rows = iter(iter_rows(str(path)))
    assert [next(rows)[0] for _ in range(1024)] == list(range(1, 1025))  # a batch
    with pytest.raises(DatasetError) as caught:
        next(rows)
    assert caught.value.found.startswith(f"{path}: damaged behind row 1,024: ")
    assert caught.value.remedy == "write or copy the file again"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"text": "a"', "line 2 is broken JSON: Expecting"),
        ("[" * 100_000, "line 2 is broken JSON"),
        ("[1, 2]", "line 2 is a JSON list, not an object"),
        ('{"text": "\\ud800"}', "line 2, column 'text': half a surrogate pair"),
    ],
)
def test_broken_json_lines_are_named_and_can_be_skipped(
    tmp_path: Path, line: str, found: str
) -> None:
    path = write(tmp_path, f'{{"text": "a"}}\n{line}\n{{"text": "\\ud83d\\ude00"}}\n', "data.jsonl")
    assert found in fault(path).found
    assert rows_of(path, skip_bad_rows=True) == [{"text": "a"}, {"text": "\U0001f600"}]


def test_skipped_rows_are_counted_and_told(tmp_path: Path) -> None:
    path = write(tmp_path, 'text,label\na\nb,x\nc,x,y\n"d"e,x\n')
    events: list[Any] = []
    reader = iter_rows(str(path), skip_bad_rows=True, on_event=events.append)
    assert list(reader) == [(2, {"text": "b", "label": "x"})]
    assert reader.skipped == 3
    (note,) = [event for event in events if isinstance(event, Note)]
    assert "3 bad rows skipped; first row 1" in note.text


def test_a_stray_quote_that_swallows_rows_is_never_skipped(tmp_path: Path) -> None:
    path = write(tmp_path, 'text,label\n"b,x\nlost,x\n"c",x\nd,x\n')
    assert "closes in line 4" in fault(path, skip_bad_rows=True).found


def test_a_required_null_cell_raises_or_is_skipped(tmp_path: Path) -> None:
    path = write(tmp_path, '{"text": "a"}\n{"text": null}\n{"id": 1}\n', "data.jsonl")
    with pytest.raises(DatasetError, match=r"row 2, column 'text': no value"):
        list(iter_rows(str(path)).require("text"))
    reader = iter_rows(str(path), skip_bad_rows=True).require("text")
    assert [number for number, _ in reader] == [1]
    assert reader.skipped == 2


def test_a_json_key_that_comes_too_late_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, '{"text": "a"}\n' * 1000 + '{"text": "b", "late": 1}\n', "data.jsonl")
    events: list[Any] = []
    assert rows_of(path, on_event=events.append)[-1] == {"text": "b"}
    assert "'late' is left out: it first appears in row 1,001" in events[0].text


# NUL in the first 8 KB means a binary file; half a surrogate pair cannot be written at all.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_any_text_and_label_survive_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("trip") / f"data.{suffix}"

    @settings(max_examples=60)
    @given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=1, max_size=5))
    def survives(pairs: list[tuple[str, str]]) -> None:
        rows = [{"text": text, "label": label} for text, label in pairs]
        with open_writer(str(path), ["text", "label"], overwrite=True) as writer:
            writer.write(rows)
        assert rows_of(path) == rows

    survives()


@settings(max_examples=50)
@given(name=st.text(string.ascii_letters + ";|\t, \"'", min_size=1))
def test_any_column_name_survives_csv(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    path = tmp_path_factory.mktemp("names") / "data.csv"
    with open_writer(str(path), ["text", f"p_{name}"]) as writer:
        writer.write([{"text": "a", f"p_{name}": "1"}])
    assert iter_rows(str(path)).columns == ("text", f"p_{name}")
