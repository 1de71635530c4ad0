"""Tables out: streamed or at once, in place only when complete."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lasttoken.data.sinks import SINKS, DelimitedSink, Form, Rows, Sink
from lasttoken.data.tables import FORMAT_OF
from lasttoken.durable import name_beside, place
from lasttoken.errors import ConfigError, RunError


class RowWriter:
    """A context manager that writes rows to a file, or to standard output as CSV.

    The file appears under its name when the block ends without an exception; until then the rows
    stand in a hidden file beside it, which an exception removes.

    Args:
        path: .csv, .tsv, .jsonl or .parquet, or None for standard output.
        columns: the columns in their order; every row must have them all.
        kinds: bool, int, float or str of columns of a Parquet file; of the others the first
            values tell.
        spreadsheet_safe: CSV and TSV: put an apostrophe before text that a spreadsheet would take
            for a formula.
    """

    def __init__(
        self,
        path: Path | None,
        columns: Sequence[str],
        *,
        kinds: Mapping[str, type] | None = None,
        spreadsheet_safe: bool = False,
    ) -> None:
        """Remember what to write where; `__enter__` opens it."""
        self._path = path
        self._form = Form(tuple(columns), kinds or {}, spreadsheet_safe)
        self._temporary: Path | None = None
        self._sink: Sink | None = None

    def __enter__(self) -> RowWriter:
        """Open the file and write the column names.

        Raises:
            RunError: the file cannot be written.
        """
        try:
            if self._path is None:
                self._sink = DelimitedSink(_standard_output(), self._form, ",", is_ours=False)
                return self
            self._temporary = name_beside(self._path)
            open_sink = SINKS[FORMAT_OF[self._path.suffix.lower()]]
            self._sink = open_sink(self._temporary, self._form)
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
                place(self._temporary, self._path)
        except OSError as fault:
            if self._path is None and isinstance(fault, BrokenPipeError):
                raise  # for the command line to judge
            raise _cannot_write(self._path, fault) from fault
        finally:
            if self._temporary is not None:
                self._temporary.unlink(missing_ok=True)


def open_writer(
    path: str | None,
    columns: Sequence[str],
    *,
    overwrite: bool = False,
    kinds: Mapping[str, type] | None = None,
    spreadsheet_safe: bool = False,
) -> RowWriter:
    """Return a writer for `path`, or for standard output (CSV) if it is None; see `RowWriter`.

    Raises:
        ConfigError: as `check_output`.
        RunError: as `check_output`.
    """
    check_output(path, overwrite=overwrite)
    target = None if path is None else Path(path).expanduser()
    return RowWriter(target, columns, kinds=kinds, spreadsheet_safe=spreadsheet_safe)


def check_output(path: str | None, *, overwrite: bool) -> None:
    """Check that a table can be written to `path`; None is standard output.

    Raises:
        ConfigError: the extension names no table format.
        RunError: the file exists and `overwrite` is False, or its folder does not exist.
    """
    if path is None:
        return
    target = Path(path).expanduser()
    if FORMAT_OF.get(target.suffix.lower()) not in SINKS:
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
        place(temporary, target)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _standard_output() -> IO[str]:
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:  # a notebook's or a test's own stream
        return sys.stdout
    sys.stdout.flush()
    return io.TextIOWrapper(buffer, encoding="utf-8", newline="")


def _cannot_write(path: Path | None, error: OSError) -> RunError:
    return RunError(
        f"{path or 'standard output'}: {error.strerror or error}",
        expected="a place that can be written, with room left",
        remedy="another output path, or make room",
    )
