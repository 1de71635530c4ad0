"""A table of any format, opened by its name and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from lasttoken.data.delimited import open_delimited
from lasttoken.data.files import STDIN, Reach, read_lines, shown_name
from lasttoken.data.jsonl import jsonl_records
from lasttoken.data.parquet import open_parquet
from lasttoken.data.rows import Record, RowReader, Table
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
    rows: range | None = None,
    on_event: EventCallback = ignore,
) -> RowReader:
    """Open a table of any size and stream its rows in constant memory.

    Args:
        path: a file or pipe, or "-" for standard input.
        format: "auto" goes by the file's extension; standard input is taken for plain lines.
        encoding: of text files; a byte order mark wins over it.
        skip_bad_rows: leave out and count ragged rows, broken JSON lines and null cells.
        rows: places of the rows to give, the first row is 0; all if None.
        on_event: told about a separator other than the comma and about skipped rows.

    Raises:
        DatasetError: the file is missing, empty, of another format or encoding, or (here or
            while iterating) a row cannot be used.
    """
    table = open_table(path, format=format, encoding=encoding, on_event=on_event)
    return RowReader(table, skip_bad_rows=skip_bad_rows, rows=rows, on_event=on_event)


def count_rows(path: str, *, format: TableFormat = "auto", encoding: str = "utf-8") -> int:
    """Return how many rows a table has, bad ones included: a pass over all of it, but for Parquet.

    Raises:
        DatasetError: as for `iter_rows`, but for what is wrong with single rows.
    """
    table = open_table(path, format=format, encoding=encoding)
    try:
        if table.num_rows is not None:
            return table.num_rows
        return sum(1 for _ in table.records)
    finally:
        table.close()


def open_table(
    path: str, *, format: TableFormat, encoding: str, on_event: EventCallback = ignore
) -> Table:
    """Open a table; see `iter_rows`.

    Raises:
        DatasetError: the file is missing, empty, or of another format or encoding.
    """
    kind = format_of(path) if format == "auto" else format
    if kind == "parquet":
        return open_parquet(path)
    if kind in ("csv", "tsv"):
        return open_delimited(path, encoding, on_event, "\t" if kind == "tsv" else None)
    name, reach = shown_name(path), Reach()
    lines = read_lines(path, encoding, kind, reach)
    columns, records = (
        (None, jsonl_records(name, lines)) if kind == "jsonl" else (["text"], _texts(lines))
    )
    return Table(name, columns, records, share_read=reach.share, close=lines.close)


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
