"""How rows are laid down in a file, format by format; memory does not grow with their number."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from lasttoken.data.parquet import arrow_schema

Rows = Sequence[Mapping[str, object]]

# What a spreadsheet takes for the start of a formula, or skips in front of one: OWASP, "CSV
# Injection", and ASVS 1.2.10. The last four are the full-width forms of the first.
FORMULA_STARTS = (*"=+-@", *"\t\r\n\0", *"\uff1d\uff0b\uff0d\uff20")

# A row group of Parquet ends at so many rows, or characters of text: its rows are held until
# then, and what the file's end tells of each group is held until the end.
_GROUP_ROWS = 5_000
_GROUP_CHARACTERS = 1 << 22


@dataclass(frozen=True)
class Form:
    """The form of rows.

    Attributes:
        columns: in their order; every row has them all.
        kinds: types of columns of a Parquet file; of the others the first values tell.
        spreadsheet_safe: no text of a CSV or TSV file may be taken for a formula.
    """

    columns: tuple[str, ...]
    kinds: Mapping[str, type]
    spreadsheet_safe: bool


class Sink(Protocol):
    """A file that takes rows."""

    def write(self, rows: Rows) -> None:
        """Append rows."""

    def close(self) -> None:
        """Write what is held back, and close the file."""


class DelimitedSink:
    """CSV or TSV."""

    def __init__(self, file: IO[str], form: Form, delimiter: str, *, is_ours: bool = True) -> None:
        self._file = file
        self._is_ours = is_ours
        self._columns = form.columns
        self._cell = _safe_cell if form.spreadsheet_safe else _delimited_cell
        self._plain = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        # Python before 3.13 leaves a lone carriage return unquoted, and a reader would break there.
        self._quoted = csv.writer(
            file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL
        )
        # Names that hold another separator are quoted, so that the header still tells which it is.
        is_odd = any(mark in name for name in form.columns for mark in ",\t;|\r")
        (self._quoted if is_odd else self._plain).writerow(map(self._cell, form.columns))

    def write(self, rows: Rows) -> None:
        """Append rows."""
        for row in rows:
            cells = [self._cell(row[column]) for column in self._columns]
            has_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)
            (self._quoted if has_return else self._plain).writerow(cells)
        if not self._is_ours:
            self._file.flush()

    def close(self) -> None:
        """Close the file; standard output is only flushed."""
        if self._is_ours:
            self._file.close()
        else:
            self._file.flush()
            if isinstance(self._file, io.TextIOWrapper) and self._file is not sys.stdout:
                self._file.detach()  # standard output belongs to the process


class _JsonSink:
    def __init__(self, path: Path, form: Form) -> None:
        self._file = path.open("x", encoding="utf-8", newline="")
        self._columns = form.columns

    def write(self, rows: Rows) -> None:
        for row in rows:
            cells = {column: _plain(row[column]) for column in self._columns}
            self._file.write(json.dumps(cells, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


class _ParquetSink:
    def __init__(self, path: Path, form: Form) -> None:
        path.open("xb").close()  # told at once if the folder cannot be written
        self._path = path
        self._form = form
        self._writer: Any = None
        self._group: list[dict[str, object]] = []
        self._characters = 0

    def write(self, rows: Rows) -> None:
        # Row by row, so that groups depend on the rows alone, not on how many come at a time.
        for row in rows:
            cells = {column: _plain(row[column]) for column in self._form.columns}
            self._group.append(cells)
            self._characters += sum(len(cell) for cell in cells.values() if isinstance(cell, str))
            if len(self._group) == _GROUP_ROWS or self._characters >= _GROUP_CHARACTERS:
                self._write_group()

    def close(self) -> None:
        if self._group or self._writer is None:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is None:
            schema = arrow_schema(self._form.columns, self._form.kinds, self._group)
            self._writer = pq.ParquetWriter(self._path, schema)
        self._writer.write_table(pa.Table.from_pylist(self._group, schema=self._writer.schema))
        self._group, self._characters = [], 0


def _delimited(path: Path, form: Form, delimiter: str) -> DelimitedSink:
    return DelimitedSink(path.open("x", encoding="utf-8", newline=""), form, delimiter)


SINKS: dict[str, Callable[[Path, Form], Sink]] = {
    "csv": lambda path, form: _delimited(path, form, ","),
    "tsv": lambda path, form: _delimited(path, form, "\t"),
    "jsonl": _JsonSink,
    "parquet": _ParquetSink,
}


def _plain(value: object) -> object:
    return value.item() if hasattr(value, "item") else value


def _delimited_cell(value: object) -> object:
    value = _plain(value)
    if isinstance(value, bool):  # spelled as everywhere else in the package's files
        return "true" if value else "false"
    return value


def _safe_cell(value: object) -> object:
    # Numbers are ours, and none of them is a formula: a minus stays a minus.
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return "'" + value
    return _delimited_cell(value)
