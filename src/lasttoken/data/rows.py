"""The rows of one table: streamed, with bad ones raised or skipped and counted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lasttoken.errors import DatasetError
from lasttoken.events import BadRows, EventCallback, Note, ignore

Row = dict[str, str | None]
# A row, or what is wrong with it: the reader decides whether to raise or to skip and count.
Record = tuple[int, Row | DatasetError]

# So many rows are read ahead: to collect the keys of JSON lines, and for guesses about columns.
_SAMPLE_ROWS = 1000

_ROWS_TOLD = 10  # of those left out
_KEYS_TOLD = 10  # likewise: a table may have a new key in every row


@dataclass(frozen=True)
class Table:
    """A file that is open.

    Attributes:
        name: its name in messages.
        columns: the column names; None where the rows tell them.
        records: its rows from the first on; to be iterated once.
        records_from: gives the rows from a place on, the first is 0, where the format knows a
            faster way than reading all rows before.
        num_rows: where the file itself tells.
        share_read: tells which share of the file has been read, 0 to 1; None while unknown.
        close: closes the file.
    """

    name: str
    columns: Sequence[str] | None
    records: Iterator[Record]
    records_from: Callable[[int], Iterator[Record]] | None = None
    num_rows: int | None = None
    share_read: Callable[[], float | None] = lambda: None
    close: Callable[[], None] = lambda: None


class RowReader:
    """Streams the rows of one table; iterate it once.

    Args:
        table: the open file.
        skip_bad_rows: leave out and count the rows that cannot be used.
        rows: places of the rows to give, the first row is 0; all if None. What is guessed from
            the first rows of the file is the same whatever they are.
        on_event: told about skipped rows, and keys of JSON lines that came too late.

    Attributes:
        name: the file's name in messages.
        columns: the column names.
        sample: the first rows, at most 1,000, for guesses.
        skipped: rows left out so far; only `skip_bad_rows` leaves rows out.
    """

    def __init__(
        self,
        table: Table,
        *,
        skip_bad_rows: bool = False,
        rows: range | None = None,
        on_event: EventCallback = ignore,
    ) -> None:
        """Read the first rows ahead.

        Raises:
            DatasetError: there is no usable row, or one of the first cannot be used.
        """
        self.name = table.name
        self.skipped = 0
        self._table = table
        self._range = rows
        self._place = -1  # of the last row that was read
        self._first_skipped: list[int] = []
        self._first_fault = ""
        self._skip_bad_rows = skip_bad_rows
        self._on_event = on_event
        self._required: tuple[str, ...] = ()
        self._dropped_keys: dict[str, int] = {}
        self._has_more_keys = False
        self._rows = self._usable(table.records, 0)
        self._ahead = list(itertools.islice(self._rows, _SAMPLE_ROWS))
        if not self._ahead:
            found = "no usable row" if self.skipped else "no rows below the column names"
            raise DatasetError(
                f"{self.name}: {found}" + (f"; {self._first_fault}" if self.skipped else ""),
                expected="at least one row of data",
                remedy="check that the file was written completely",
            )
        keys = dict.fromkeys(key for _, _, row in self._ahead for key in row)
        self.columns: tuple[str, ...] = tuple(table.columns or keys)
        self.sample: list[Row] = [self._complete(number, row) for _, number, row in self._ahead]

    def require(self, *columns: str) -> RowReader:
        """Take a null cell in one of `columns` for a fault from now on; returns itself."""
        self._required = columns
        return self

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        """Yield (row number, {column: value}); a null cell is None.

        Raises:
            DatasetError: a row cannot be used, unless `skip_bad_rows`.
        """
        try:
            for number, row in self._in_range():
                complete = self._complete(number, row)
                empty = next((name for name in self._required if complete[name] is None), None)
                if empty is None:
                    yield number, complete
                else:
                    self.fault(number, null_cell(self.name, number, empty))
            self._tell_end()
        finally:
            self.close()

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

    def share_read(self) -> float | None:
        """Return which share of the table has been read, 0 to 1; None while unknown."""
        if self._table.num_rows:
            return (self._place + 1) / self._table.num_rows
        return self._table.share_read()

    def close(self) -> None:
        """Close the file."""
        self._table.close()

    def _in_range(self) -> Iterator[tuple[int, Row]]:
        ahead, self._ahead = self._ahead, []
        rest, wanted = self._rows, self._range
        seek = self._table.records_from
        if wanted is not None and seek is not None and wanted.start > self._place:
            rest = self._usable(seek(wanted.start), wanted.start)
        for place, number, row in itertools.chain(ahead, rest):
            self._place = max(place, self._place)
            if wanted is None or place in wanted:
                yield number, row
            elif place >= wanted.stop:
                return

    def _usable(self, records: Iterator[Record], start: int) -> Iterator[tuple[int, int, Row]]:
        for place, (number, row) in enumerate(records, start):
            self._place = max(place, self._place)
            if not isinstance(row, DatasetError):
                yield place, number, row
            elif self._range is None or place in self._range:
                self.fault(number, row)

    def _complete(self, number: int, row: Row) -> Row:
        if len(row) == len(self.columns) and all(key in row for key in self.columns):
            return row
        for key in row.keys() - set(self.columns):
            if len(self._dropped_keys) < _KEYS_TOLD:
                self._dropped_keys.setdefault(key, number)
            elif key not in self._dropped_keys:
                self._has_more_keys = True
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
        if self._has_more_keys:
            text = f"{self.name}: more keys than these {_KEYS_TOLD} are left out"
            self._on_event(Note(text, is_warning=True))


def null_cell(name: str, number: int, column: str) -> DatasetError:
    """Return the error for a cell without a value."""
    return DatasetError(
        f"{name}: row {number:,}, column {column!r}: no value (null)",
        expected="a value in every row",
        remedy="fill the cell, or give --skip-bad-rows",
    )


def refuse_doubled(name: str, columns: Sequence[str], where: str) -> None:
    """Refuse columns of which two have one name: a row could hold only one of them.

    Args:
        name: of the table, for messages.
        columns: their names.
        where: they can be renamed.

    Raises:
        DatasetError: two have one name.
    """
    doubled = sorted({column for column in columns if columns.count(column) > 1})
    if doubled:
        raise DatasetError(
            f"{name}: {columns.count(doubled[0])} columns are named {doubled[0]!r}",
            expected="column names that differ",
            remedy=f"rename one of them {where}",
        )
