"""The rows of one table: streamed, with bad ones raised or skipped and counted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from lasttoken.errors import DatasetError
from lasttoken.events import BadRows, EventCallback, Note, ignore

Row = dict[str, str | None]
# A row, or what is wrong with it: the reader decides whether to raise or to skip and count.
Record = tuple[int, Row | DatasetError]

# So many rows are read ahead: to collect the keys of JSON lines, and for guesses about columns.
_SAMPLE_ROWS = 1000

_ROWS_TOLD = 10  # of those left out


class RowReader:
    """Streams the rows of one table; iterate it once.

    Attributes:
        name: the file's name in messages.
        columns: the column names.
        sample: the first rows, at most 1,000, for guesses.
        skipped: rows left out so far; only `skip_bad_rows` leaves rows out.
    """

    def __init__(
        self,
        name: str,
        columns: Sequence[str] | None,
        records: Iterator[Record],
        *,
        skip_bad_rows: bool = False,
        on_event: EventCallback = ignore,
    ) -> None:
        """Read the first rows ahead.

        Raises:
            DatasetError: there is no usable row, or one of the first cannot be used.
        """
        self.name = name
        self.skipped = 0
        self._first_skipped: list[int] = []
        self._first_fault = ""
        self._skip_bad_rows = skip_bad_rows
        self._on_event = on_event
        self._required: tuple[str, ...] = ()
        self._dropped_keys: dict[str, int] = {}
        self._rows = self._usable(records)
        self._ahead = list(itertools.islice(self._rows, _SAMPLE_ROWS))
        if not self._ahead:
            found = "no usable row" if self.skipped else "no rows below the column names"
            raise DatasetError(
                f"{name}: {found}" + (f"; {self._first_fault}" if self.skipped else ""),
                expected="at least one row of data",
                remedy="check that the file was written completely",
            )
        keys = dict.fromkeys(key for _, row in self._ahead for key in row)
        self.columns: tuple[str, ...] = tuple(columns or keys)
        self.sample: list[Row] = [self._complete(number, row) for number, row in self._ahead]

    def require(self, *columns: str) -> RowReader:
        """Take a null cell in one of `columns` for a fault from now on; returns itself."""
        self._required = columns
        return self

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        """Yield (row number, {column: value}); a null cell is None.

        Raises:
            DatasetError: a row cannot be used, unless `skip_bad_rows`.
        """
        ahead, self._ahead = self._ahead, []
        for number, row in itertools.chain(ahead, self._rows):
            complete = self._complete(number, row)
            empty = next((name for name in self._required if complete[name] is None), None)
            if empty is None:
                yield number, complete
            else:
                self.fault(number, null_cell(self.name, number, empty))
        self._tell_end()

    def fault(self, number: int, error: DatasetError) -> None:
        """Count a row as skipped, or raise what is wrong with it.

        Raises:
            DatasetError: `error`, unless `skip_bad_rows`.
        """
        if not self._skip_bad_rows:
            raise error
        self.skipped += 1
        if len(self._first_skipped) < _ROWS_TOLD:
            self._first_skipped.append(number)
        self._first_fault = self._first_fault or f"row {number:,}: {error.found}"

    def _usable(self, records: Iterator[Record]) -> Iterator[tuple[int, Row]]:
        for number, row in records:
            if isinstance(row, DatasetError):
                self.fault(number, row)
            else:
                yield number, row

    def _complete(self, number: int, row: Row) -> Row:
        if len(row) == len(self.columns) and all(key in row for key in self.columns):
            return row
        for key in row.keys() - set(self.columns):
            self._dropped_keys.setdefault(key, number)
        return {name: row.get(name) for name in self.columns}

    def _tell_end(self) -> None:
        if self.skipped:
            plural = "s" if self.skipped > 1 else ""
            text = (
                f"{self.name}: {self.skipped:,} bad row{plural} skipped; first {self._first_fault}"
            )
            rows = tuple(self._first_skipped)
            self._on_event(BadRows(text, True, self.name, self.skipped, rows))
        for key, number in self._dropped_keys.items():
            self._on_event(
                Note(
                    f"{self.name}: key {key!r} is left out: it first appears in row {number:,}, "
                    f"after the columns were told from the first {_SAMPLE_ROWS:,} rows",
                    is_warning=True,
                )
            )


def null_cell(name: str, number: int, column: str) -> DatasetError:
    """Return the error for a cell without a value."""
    return DatasetError(
        f"{name}: row {number:,}, column {column!r}: no value (null)",
        expected="a value in every row",
        remedy="fill the cell, or give --skip-bad-rows",
    )
