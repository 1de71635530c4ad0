"""Malformed files: each loads right, or is refused at once with its file, row, column and remedy.

What loads is compared value by value: nothing is lost, guessed or changed on the way.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from lasttoken import DatasetError, LastTokenError
from lasttoken.data.readers import read_labeled
from lasttoken.events import BadRows, Event, Note

TWO = [("good", "pos"), ("bad", "neg")]


class Loads(NamedTuple):
    """A file that is read, and the texts and labels it holds."""

    content: bytes
    examples: list[tuple[str, str]]
    name: str = "data.csv"
    options: dict[str, object] = {}  # noqa: RUF012 - never changed
    told: str = ""


class Fails(NamedTuple):
    """A file that is refused, and what is said: found, remedy."""

    content: bytes
    found: str
    remedy: str
    name: str = "data.csv"
    options: dict[str, object] = {}  # noqa: RUF012 - never changed


def csv(*lines: str, end: str = "\n") -> bytes:
    return end.join(["text,label", *lines, ""]).encode()


def jsonl(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


GOOD_BAD = csv("good,pos", "bad,neg")

CORPUS: dict[str, Loads | Fails] = {
    # ---- encodings ----
    "a UTF-8 byte order mark": Loads(b"\xef\xbb\xbf" + GOOD_BAD, TWO),
    "UTF-16 LE with its mark": Loads(GOOD_BAD.decode().encode("utf-16"), TWO),
    "UTF-16 BE with its mark": Loads(b"\xfe\xff" + GOOD_BAD.decode().encode("utf-16-be"), TWO),
    "UTF-32 with its mark": Loads(GOOD_BAD.decode().encode("utf-32"), TWO),
    "UTF-16 without its mark": Fails(
        GOOD_BAD.decode().encode("utf-16-le"), "binary data (byte 1 is NUL)", "--encoding utf-16"
    ),
    "UTF-16 LE, told": Loads(
        GOOD_BAD.decode().encode("utf-16-le"), TWO, options={"encoding": "utf-16-le"}
    ),
    "Windows-1252": Fails(
        csv("good,pos") + "café “x”,neg\n".encode("cp1252"),
        "byte 0xe9 at byte 23 (line 3) is not utf-8",
        "--encoding cp1252",
    ),
    "Windows-1252, told": Loads(
        csv("good,pos") + "café “x”,neg\n".encode("cp1252"),
        [("good", "pos"), ("café “x”", "neg")],
        options={"encoding": "cp1252"},
    ),
    "a bad byte far behind": Fails(
        csv(*["good,pos"] * 50_000) + b"\xff,neg\n", "(line 50,002) is not utf-8", "--encoding"
    ),
    "a character cut at the end": Fails(GOOD_BAD + "caf\u00e9".encode()[:-1], "is not utf-8", ""),
    "mojibake is text as it stands": Loads(
        csv("cafÃ© good,pos", "bad,neg"), [("cafÃ© good", "pos"), ("bad", "neg")]
    ),
    "an unknown encoding": Fails(
        GOOD_BAD,
        "--encoding klingon: unknown encoding",
        "--encoding utf-8",
        options={"encoding": "klingon"},
    ),
    "Shift-JIS, told": Loads(
        "text,label\n良い,pos\n悪い,neg\n".encode("shift_jis"),
        [("良い", "pos"), ("悪い", "neg")],
        options={"encoding": "shift_jis"},
    ),
    # ---- characters ----
    "a NUL in a cell near the top": Fails(csv("go\0od,pos"), "binary data", "--encoding utf-16"),
    "a NUL in a cell far behind": Loads(
        csv(*["good,pos"] * 2_000, "b\0ad,neg"), [("good", "pos")] * 2_000 + [("b\0ad", "neg")]
    ),
    "a lone surrogate in JSON": Fails(
        b'{"text": "good", "label": "pos"}\n{"text": "\\ud83d bad", "label": "neg"}\n',
        "line 2, column 'text': half a surrogate pair",
        "mend the line, or give --skip-bad-rows",
        "data.jsonl",
    ),
    "a surrogate pair in JSON": Loads(
        b'{"text": "\\ud83d\\ude00", "label": "pos"}\n{"text": "bad", "label": "neg"}\n',
        [("😀", "pos"), ("bad", "neg")],
        "data.jsonl",
    ),
    "white space, emoji, right-to-left, zero width, combining": Loads(
        csv('"   ",a', "👍🏽,b", "שלום,a", "a\u200bb,b", "e\u0301,a"),
        [("   ", "a"), ("👍🏽", "b"), ("שלום", "a"), ("a\u200bb", "b"), ("e\u0301", "a")],
    ),
    "an end-of-text marker as text": Loads(
        csv("<|endoftext|>,pos", "bad<|endoftext|>,neg"),
        [("<|endoftext|>", "pos"), ("bad<|endoftext|>", "neg")],
    ),
    "a cell of 10 MB": Loads(csv("x" * 10**7 + ",pos", "bad,neg"), [("x" * 10**7, "pos"), TWO[1]]),
    # ---- line ends and quotes ----
    "CRLF": Loads(csv("good,pos", "bad,neg", end="\r\n"), TWO),
    "lone carriage returns": Loads(csv("good,pos", "bad,neg", end="\r"), TWO),
    "no line end at the end": Loads(GOOD_BAD.rstrip(b"\n"), TWO),
    "blank lines between": Loads(csv("", "good,pos", "", "", "bad,neg", ""), TWO),
    "quoted line ends": Loads(
        csv('"go\nod",pos', '"b\r\nad",neg'), [("go\nod", "pos"), ("b\r\nad", "neg")]
    ),
    "doubled quotes": Loads(
        csv('"he said ""yes""",pos', "bad,neg"), [('he said "yes"', "pos"), TWO[1]]
    ),
    "a quote inside a text": Loads(csv('5" tall,pos', "bad,neg"), [('5" tall', "pos"), TWO[1]]),
    "a quote that never closes, of 100,000 rows": Fails(
        csv('"good,pos', *["bad,neg"] * 100_000),
        "a quote opens in row 1 (line 2) and never closes",
        "mend the quotes in line 2",
    ),
    "text behind a closing quote": Fails(
        csv('"good" x,pos', "bad,neg"),
        "row 1 (line 2): text goes on behind a closing quote",
        "mend the quotes in line 2",
    ),
    "a quote that swallows rows": Fails(
        csv('"good,pos', 'bad" x,neg'),
        "a quote opens in row 1 (line 2), closes in line 3",
        "mend the quotes in line 2",
    ),
    # ---- separators, headers, rows ----
    "semicolons": Loads(b"text;label\ngood;pos\nbad;neg\n", TWO, told="separated by semicolons"),
    "tabs in .csv": Loads(b"text\tlabel\ngood\tpos\nbad\tneg\n", TWO, told="separated by tabs"),
    "bars": Loads(b"text|label\ngood|pos\nbad|neg\n", TWO, told="separated by bars"),
    "commas in .tsv": Fails(GOOD_BAD, "", "", "data.tsv"),
    "a text of the letter v": Loads(csv("v v v,pos", "vv,neg"), [("v v v", "pos"), ("vv", "neg")]),
    "a row with a field too many": Fails(
        csv("good,pos", "bad, worse,neg"),
        "row 2 (line 3) has 3 fields, the first line has 2",
        "put texts that hold ',' into quotes",
    ),
    "a row with a field too few": Fails(
        csv("good,pos", "bad"),
        "row 2 (line 3) has 1 fields, the first line has 2",
        "",
    ),
    "a ragged row, skipped": Loads(
        csv("good,pos", "bad, worse,neg", "bad,neg"),
        TWO,
        options={"skip_bad_rows": True},
        told="1 bad row skipped; first row 2",
    ),
    "no line of names": Fails(
        b"good,pos\n" + b"better,pos\nbad,neg\n" * 10,
        "the first line",
        "",
        options={},
    ),
    "a byte order mark and nothing else": Fails(b"\xff\xfe", "the file is empty", "written"),
    "names with spaces": Loads(
        b" text , label \ngood,pos\nbad,neg\n",
        TWO,
        options={"text_column": " text ", "label_column": " label "},
    ),
    "a column named twice": Fails(
        b"text,label,text\ngood,pos,x\nbad,neg,y\n",
        "2 columns are named 'text'",
        "rename one of them",
    ),
    "a broken line of names": Fails(
        b'"text"x,label\ngood,pos\n',
        "the line of column names is broken",
        "mend the quotes",
    ),
    "a column that is not there": Fails(
        GOOD_BAD,
        "no column 'txt'",
        "did you mean",
        options={"text_column": "txt"},
    ),
    # ---- what is no table ----
    "an HTML page": Fails(b"<!DOCTYPE html><html></html>", "an HTML page", "download the raw file"),
    "a workbook": Fails(b"PK\x03\x04....", "a zip archive or an .xlsx workbook", "save it as CSV"),
    "an old workbook": Fails(b"\xd0\xcf\x11\xe0...", "an .xls workbook", "save it as CSV"),
    "gzip": Fails(b"\x1f\x8b\x08....", "gzip data", "gunzip"),
    "bzip2": Fails(b"BZh91AY", "bzip2 data", "bunzip2"),
    "a PDF": Fails(b"%PDF-1.7", "a PDF file", "export its text"),
    "Parquet named .csv": Fails(b"PAR1....", "a Parquet file", "rename it to .parquet"),
    "CSV named .parquet": Fails(GOOD_BAD, "no Parquet file", "rename it", "data.parquet"),
    "an empty file": Fails(b"", "the file is empty", "written completely"),
    "an empty JSONL file": Fails(b"", "the file is empty", "written completely", "data.jsonl"),
    "names alone": Fails(csv(), "no rows below the column names", "written completely"),
    "an unknown kind": Fails(
        GOOD_BAD, "unknown kind of file '.dat'", "rename the file", "data.dat"
    ),
    # ---- labels and values ----
    "labels NA, None, null, N/A, nan": Loads(
        csv("a,NA", "b,None", "c,null", "d,N/A", "e,nan"),
        [("a", "NA"), ("b", "None"), ("c", "null"), ("d", "N/A"), ("e", "nan")],
    ),
    "texts NA and null": Loads(csv("NA,x", "null,y"), [("NA", "x"), ("null", "y")]),
    "numbers as texts": Loads(
        csv("1.0,x", "1,y", "01,x"),
        [("1.0", "x"), ("1", "y"), ("01", "x")],
        options={"text_column": "text"},
    ),
    "labels 1, 01, 1.0, True, true": Loads(
        csv("a,1", "b,01", "c,1.0", "d,True", "e,true"),
        [("a", "1"), ("b", "01"), ("c", "1.0"), ("d", "True"), ("e", "true")],
    ),
    "nurse and not nurse": Loads(
        csv("a,nurse", "b,not nurse"), [("a", "nurse"), ("b", "not nurse")]
    ),
    "Spam and spam with a space": Loads(csv("a,Spam ", "b,spam"), [("a", "Spam "), ("b", "spam")]),
    "JSON numbers keep their spelling": Loads(
        b'{"text": "a", "label": 1.0}\n{"text": "b", "label": 1}\n{"text": "c", "label": true}\n',
        [("a", "1.0"), ("b", "1"), ("c", "true")],
        "data.jsonl",
    ),
    "an empty text": Loads(csv(",pos", "bad,neg"), [("", "pos"), ("bad", "neg")]),
    "an empty label": Fails(
        csv("good,", "bad,neg"), "row 1, column 'label': the label is empty", "fill the cell"
    ),
    "a null text": Fails(
        jsonl({"text": None, "label": "pos"}, {"text": "bad", "label": "neg"}),
        "row 1, column 'text': no value (null)",
        "fill the cell",
        "data.jsonl",
    ),
    "a missing key": Fails(
        jsonl({"text": "good", "label": "pos"}, {"text": "bad"}),
        "row 2, column 'label': no value (null)",
        "fill the cell",
        "data.jsonl",
    ),
    # ---- JSON ----
    "a JSON list": Fails(
        b'[{"text": "a", "label": "b"}]', "is a JSON list, not an object", "jq", "data.json"
    ),
    "a JSON object over several lines": Fails(
        b'{\n"text": "a",\n"label": "b"\n}\n', "line 1 is broken JSON", "mend the line", "data.json"
    ),
    "nested JSON, 100,000 deep": Fails(
        b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b', "label": "x"}\n',
        "line 1",
        "",
        "data.jsonl",
    ),
    "nested JSON, as text": Loads(
        jsonl({"text": {"a": [1, 2.5]}, "label": "pos"}, {"text": "bad", "label": "neg"}),
        [('{"a": [1, 2.5]}', "pos"), ("bad", "neg")],
        "data.jsonl",
    ),
    "a huge number in JSON": Loads(
        b'{"text": 1' + b"0" * 5_000 + b', "label": "pos"}\n{"text": "bad", "label": "neg"}\n',
        [("1" + "0" * 5_000, "pos"), ("bad", "neg")],
        "data.jsonl",
    ),
    "a key twice in one object": Loads(
        b'{"text": "a", "text": "good", "label": "pos"}\n{"text": "bad", "label": "neg"}\n',
        TWO,
        "data.jsonl",
    ),
    "a byte order mark in JSONL": Loads(
        b"\xef\xbb\xbf" + jsonl(*({"text": t, "label": n} for t, n in TWO)), TWO, "data.jsonl"
    ),
    "a million labels": Loads(
        csv(*[f"text {n},label {n % 100_000}" for n in range(200_000)]),
        [(f"text {n}", f"label {n % 100_000}") for n in range(200_000)],
    ),
}


def read(path: Path, options: dict[str, object], on_event: Callable[[Event], None]) -> list:
    data = read_labeled(str(path), on_event=on_event, **options)
    return [(example.text, example.label) for example in data.all_examples()]


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 60


@pytest.mark.parametrize("what", CORPUS)
def test_a_malformed_file_loads_right_or_is_refused_with_its_place_and_remedy(
    what: str, tmp_path: Path
) -> None:
    case, events = CORPUS[what], []
    path = tmp_path / case.name
    path.write_bytes(case.content)
    started = time.process_time()
    if isinstance(case, Loads):
        assert read(path, case.options, events.append) == case.examples
        told = "\n".join(event.text for event in events if isinstance(event, Note))
        assert case.told in told
        assert sum(event.count for event in events if isinstance(event, BadRows)) == told.count(
            "skipped"
        )
    else:
        with pytest.raises(LastTokenError) as caught:
            read(path, case.options, events.append)
        error = caught.value
        assert case.found in error.found
        assert case.remedy in error.remedy
        assert "--encoding" in error.found or path.name in error.found
        assert error.expected
    assert time.process_time() - started < 1 or len(case.content) > 10**6


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").mkdir()
    with pytest.raises(DatasetError):
        read_labeled(str(tmp_path / "data.csv"))


def test_a_named_pipe_is_read_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(GOOD_BAD))
    writer.start()
    assert read(path, {}, lambda event: None) == TWO
    writer.join()


def test_a_file_without_the_right_to_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(GOOD_BAD)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(DatasetError, match="Permission denied"):
        read_labeled(str(path))


def test_a_file_that_grows_while_it_is_read_gives_whole_rows(tmp_path: Path) -> None:
    from lasttoken.data.tables import iter_rows

    path = tmp_path / "growing.csv"
    path.write_bytes(csv(*["good,pos"] * 5_000))
    rows = iter(iter_rows(str(path)))
    first = next(rows)[1]
    with path.open("ab") as file:
        file.write(b"bad,neg\n" * 1_000)
    texts = [first["text"], *(row["text"] for _, row in rows)]
    assert texts == ["good"] * 5_000 + ["bad"] * 1_000


def test_a_large_file_is_streamed_in_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    from lasttoken.data.tables import iter_rows

    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.write(b"text,label\n")
        for _ in range(64):
            file.write(b"a text of some forty characters, or so.;".replace(b",", b";") * 10
                       + b",pos\n")  # fmt: skip
        block = (b"x" * 1_000 + b",pos\n") * 1_000
        for _ in range(30):  # 30 MB
            file.write(block)
    tracemalloc.start()
    count = sum(1 for _ in iter_rows(str(path)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 64 + 30_000
    assert peak < 8 * 2**20
