"""A table of any format, opened by its name and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from lasttoken.data.delimited import open_delimited
from lasttoken.data.files import STDIN, read_lines, shown_name
from lasttoken.data.jsonl import jsonl_records
from lasttoken.data.parquet import parquet_records
from lasttoken.data.rows import Record, RowReader
from lasttoken.errors import DatasetError
from lasttoken.events import EventCallback, ignore

TableFormat = Literal["auto", "csv", "tsv", "jsonl", "parquet", "text"]

FORMAT_OF: dict[str, TableFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
}


def iter_rows(
    path: str,
    *,
    format: TableFormat = "auto",
    encoding: str = "utf-8",
    skip_bad_rows: bool = False,
    on_event: EventCallback = ignore,
) -> RowReader:
    """Open a table of any size and stream its rows in constant memory.

    Args:
        path: a file or pipe, or "-" for standard input.
        format: "auto" goes by the file's extension; standard input is taken for plain lines.
        encoding: of text files; a byte order mark wins over it.
        skip_bad_rows: leave out and count ragged rows, broken JSON lines and null cells.
        on_event: told about a separator other than the comma and about skipped rows.

    Raises:
        DatasetError: the file is missing, empty, of another format or encoding, or (here or
            while iterating) a row cannot be used.
    """
    name = shown_name(path)
    columns: list[str] | None
    records: Iterator[Record]
    kind = format_of(path) if format == "auto" else format
    if kind == "parquet":
        columns, records = parquet_records(path)
    elif kind in ("csv", "tsv"):
        delimiter = "\t" if kind == "tsv" else None
        columns, records = open_delimited(path, encoding, on_event, delimiter)
    else:
        lines = read_lines(path, encoding, kind)
        columns, records = (
            (None, jsonl_records(name, lines)) if kind == "jsonl" else (["text"], _texts(lines))
        )
    return RowReader(name, columns, records, skip_bad_rows=skip_bad_rows, on_event=on_event)


def format_of(path: str) -> TableFormat:
    """Return the format that the extension of `path` tells; "text" for standard input.

    Raises:
        DatasetError: the extension is unknown.
    """
    if path == STDIN:
        return "text"
    suffix = Path(path).suffix.lower()
    if suffix not in FORMAT_OF:
        raise DatasetError(
            f"{path}: unknown kind of file {suffix!r}",
            expected="one of " + " ".join(FORMAT_OF),
            remedy="rename the file so that its name tells its format, such as reviews.csv",
        )
    return FORMAT_OF[suffix]


def _texts(lines: Iterator[str]) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        yield number, {"text": line.removesuffix("\n").removesuffix("\r")}
