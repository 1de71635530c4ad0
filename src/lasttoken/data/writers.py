"""Tables out: streamed or at once, in place only when complete."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from lasttoken.data.tables import FORMAT_OF
from lasttoken.durable import name_beside
from lasttoken.errors import ConfigError, RunError

Rows = Sequence[Mapping[str, object]]


class _Sink(Protocol):
    def write(self, rows: Rows) -> None: ...

    def close(self) -> None: ...


class RowWriter:
    """A context manager that writes rows to a file, or to standard output as CSV.

    The file appears under its name when the block ends without an exception; until then the rows
    stand in a hidden file beside it, which an exception removes.

    Args:
        path: .csv, .tsv, .jsonl or .parquet, or None for standard output.
        columns: the columns in their order; every row must have them all.
    """

    def __init__(self, path: Path | None, columns: Sequence[str]) -> None:
        """Remember what to write where; `__enter__` opens it."""
        self._path = path
        self._columns = list(columns)
        self._temporary: Path | None = None
        self._sink: _Sink | None = None

    def __enter__(self) -> RowWriter:
        """Open the file and write the column names.

        Raises:
            RunError: the file cannot be written.
        """
        try:
            if self._path is None:
                self._sink = _DelimitedSink(_standard_output(), self._columns, ",", is_ours=False)
                return self
            self._temporary = name_beside(self._path)
            self._sink = _SINKS[FORMAT_OF[self._path.suffix.lower()]](
                self._temporary, self._columns
            )
        except OSError as error:
            if self._path is None and isinstance(error, BrokenPipeError):
                raise  # for the command line to judge
            raise _cannot_write(self._path, error) from error
        return self

    def write(self, rows: Rows) -> None:
        """Append rows.

        Raises:
            RunError: the file cannot be written, as when the disk is full.
        """
        if self._sink is None:
            raise RuntimeError("RowWriter.write outside of its with block")
        try:
            self._sink.write(rows)
        except OSError as error:
            if self._path is None and isinstance(error, BrokenPipeError):
                raise  # for the command line to judge
            raise _cannot_write(self._path, error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file; give it its name, or remove it if the block failed.

        Raises:
            RunError: the last rows cannot be written.
        """
        sink, self._sink = self._sink, None
        try:
            if sink is not None:
                sink.close()
            if kind is None and self._path is not None and self._temporary is not None:
                _put_in_place(self._temporary, self._path)
        except OSError as fault:
            if self._path is None and isinstance(fault, BrokenPipeError):
                raise  # for the command line to judge
            raise _cannot_write(self._path, fault) from fault
        finally:
            if self._temporary is not None:
                self._temporary.unlink(missing_ok=True)


def open_writer(path: str | None, columns: Sequence[str], *, overwrite: bool = False) -> RowWriter:
    """Return a writer for `path`, or for standard output (CSV) if it is None.

    Raises:
        ConfigError: the extension names no table format.
        RunError: the file exists and `overwrite` is False, or its folder does not exist.
    """
    if path is None:
        return RowWriter(None, columns)
    target = Path(path).expanduser()
    if FORMAT_OF.get(target.suffix.lower()) not in _SINKS:
        raise ConfigError(
            f"--output {path}: unknown kind of table {target.suffix!r}",
            expected="a name that ends in .csv, .tsv, .jsonl or .parquet",
            remedy=f"--output {target.with_suffix('.csv')}",
        )
    if target.exists() and not target.is_file():  # never rename over a folder or a device
        raise RunError(
            f"{path}: a folder or a device",
            expected="the name of a file",
            remedy="another name",
        )
    if target.exists() and not overwrite:
        raise RunError(
            f"{path}: exists already",
            expected="an output file that does not exist yet",
            remedy="--overwrite, or another name",
        )
    if not target.parent.is_dir():
        raise RunError(
            f"{path}: its folder {target.parent} does not exist",
            expected="an existing folder",
            remedy=f"mkdir -p {target.parent}",
        )
    return RowWriter(target, columns)


def write_table(path: str | Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write one Parquet file in one go; it appears complete or not at all.

    Raises:
        RunError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = Path(path)
    temporary = name_beside(target)
    try:
        pq.write_table(
            pa.table({name: list(values) for name, values in columns.items()}), temporary
        )
        _put_in_place(temporary, target)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


class _DelimitedSink:
    def __init__(
        self, file: IO[str], columns: list[str], delimiter: str, *, is_ours: bool = True
    ) -> None:
        self._file = file
        self._is_ours = is_ours
        self._columns = columns
        self._plain = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        # Python before 3.13 leaves a lone carriage return unquoted, and a reader would break there.
        self._quoted = csv.writer(
            file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL
        )
        # Names that hold another separator are quoted, so that the header still tells which it is.
        is_odd = any(mark in name for name in columns for mark in ",\t;|\r")
        (self._quoted if is_odd else self._plain).writerow(columns)

    def write(self, rows: Rows) -> None:
        for row in rows:
            cells = [_delimited_cell(row[column]) for column in self._columns]
            has_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)
            (self._quoted if has_return else self._plain).writerow(cells)
        if not self._is_ours:
            self._file.flush()

    def close(self) -> None:
        if self._is_ours:
            self._file.close()
        else:
            self._file.flush()
            if isinstance(self._file, io.TextIOWrapper) and self._file is not sys.stdout:
                self._file.detach()  # standard output belongs to the process


class _JsonSink:
    def __init__(self, path: Path, columns: list[str]) -> None:
        self._file = path.open("x", encoding="utf-8", newline="")
        self._columns = columns

    def write(self, rows: Rows) -> None:
        for row in rows:
            cells = {column: _plain(row[column]) for column in self._columns}
            self._file.write(json.dumps(cells, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


class _ParquetSink:
    def __init__(self, path: Path, columns: list[str]) -> None:
        path.open("xb").close()  # told at once if the folder cannot be written
        self._path = path
        self._columns = columns
        self._writer: Any = None

    def write(self, rows: Rows) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        cells = {column: [_plain(row[column]) for row in rows] for column in self._columns}
        if self._writer is None:
            kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
            fields = []
            for column, values in cells.items():
                first = next((value for value in values if value is not None), "")
                fields.append((column, kinds.get(type(first), pa.string())))
            self._writer = pq.ParquetWriter(self._path, pa.schema(fields))
        self._writer.write_table(pa.table(cells, schema=self._writer.schema))

    def close(self) -> None:
        if self._writer is None:
            self.write([])
        self._writer.close()


def _delimited(path: Path, columns: list[str], delimiter: str) -> _DelimitedSink:
    return _DelimitedSink(path.open("x", encoding="utf-8", newline=""), columns, delimiter)


_SINKS: dict[Any, Any] = {
    "csv": lambda path, columns: _delimited(path, columns, ","),
    "tsv": lambda path, columns: _delimited(path, columns, "\t"),
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


def _standard_output() -> IO[str]:
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:  # a notebook's or a test's own stream
        return sys.stdout
    sys.stdout.flush()
    return io.TextIOWrapper(buffer, encoding="utf-8", newline="")


def _put_in_place(temporary: Path, path: Path) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _cannot_write(path: Path | None, error: OSError) -> RunError:
    return RunError(
        f"{path or 'standard output'}: {error.strerror or error}",
        expected="a place that can be written, with room left",
        remedy="another output path, or make room",
    )
