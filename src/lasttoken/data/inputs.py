"""Several tables as one: their rows one after the other, or one part of n of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lasttoken.data.files import STDIN
from lasttoken.data.rows import Row, RowReader
from lasttoken.data.tables import TableFormat, count_rows, iter_rows
from lasttoken.errors import ConfigError, DatasetError
from lasttoken.events import EventCallback, ignore


@dataclass(frozen=True)
class Shard:
    """One of n parts of all rows, told apart by place: the parts joined are the whole.

    Attributes:
        number: which one, from 1.
        of: n.
        start: place of its first row, the first of all is 0.
        stop: place behind its last row.
        num_rows: of all inputs, bad rows included.
        rows: for each input, how many it has.
    """

    number: int
    of: int
    start: int
    stop: int
    num_rows: int
    rows: tuple[int, ...]

    def ranges(self) -> list[range]:
        """Return for each input the places of its rows that belong to this part."""
        ranges, before = [], 0
        for count in self.rows:
            start, stop = (min(max(at - before, 0), count) for at in (self.start, self.stop))
            ranges.append(range(start, stop))
            before += count
        return ranges


def find_shard(
    paths: Sequence[str],
    number: int,
    of: int,
    *,
    format: TableFormat = "auto",
    encoding: str = "utf-8",
) -> Shard:
    """Count the rows of all inputs, and return which of them the part has.

    Raises:
        ConfigError: an input is a pipe, whose rows cannot be counted beforehand.
        DatasetError: an input cannot be read.
    """
    for path in paths:
        if path == STDIN:
            raise ConfigError(
                f"--shard {number}/{of}: the rows of standard input cannot be counted beforehand",
                expected="files, which are read twice: once to count, once to predict",
                remedy="save it to a file first, and name that file",
            )
    rows = count_all(paths, format=format, encoding=encoding)
    total = sum(rows)
    return Shard(number, of, total * (number - 1) // of, total * number // of, total, rows)


def count_all(
    paths: Sequence[str], *, format: TableFormat = "auto", encoding: str = "utf-8"
) -> tuple[int, ...]:
    """Return how many rows each input has, bad ones included.

    Raises:
        DatasetError: an input cannot be read.
    """
    return tuple(count_rows(path, format=format, encoding=encoding) for path in paths)


class Inputs:
    """The rows of several tables with the same columns; iterate it once.

    One file is open at a time.

    Attributes:
        name: of the first input, for messages.
        columns: the column names, in the order of the first input.
        sample: first rows of the first input, for guesses.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        format: TableFormat = "auto",
        encoding: str = "utf-8",
        skip_bad_rows: bool = False,
        ranges: Sequence[range] | None = None,
        on_event: EventCallback = ignore,
    ) -> None:
        """Open the first input, and look at the columns of the others.

        Args:
            paths: files, or "-" for standard input.
            format: of all of them; "auto" goes by each one's extension.
            encoding: of text files.
            skip_bad_rows: leave out and count what cannot be used.
            ranges: for each input the places of the rows to give; all if None.
            on_event: told what is guessed and left out.

        Raises:
            DatasetError: an input is missing, cannot be read, is named twice as standard input,
                or has other columns than the first.
        """
        if paths.count(STDIN) > 1:
            raise DatasetError(
                "standard input is named twice",
                expected="each input once: what came by a pipe is gone after it",
                remedy="name - once",
            )
        self._paths = list(paths)
        self._ranges = [None] * len(paths) if ranges is None else list(ranges)
        self._required: tuple[str, ...] = ()
        self._done = 0  # inputs that were read to their end
        self._weights = [_num_bytes(path) for path in paths]

        def open_input(place: int, on_event: EventCallback = on_event) -> RowReader:
            return iter_rows(
                self._paths[place],
                format=format,
                encoding=encoding,
                skip_bad_rows=skip_bad_rows,
                rows=self._ranges[place],
                on_event=on_event,
            )

        self._open = open_input
        self._reader = open_input(0)
        self.name, self.columns = self._reader.name, self._reader.columns
        self.sample = self._reader.sample
        for place in range(1, len(paths)):
            if paths[place] != STDIN:  # the columns of a pipe are looked at when its turn comes
                reader = open_input(place, ignore)
                reader.close()
                self._check_columns(reader)

    def require(self, *columns: str) -> None:
        """Take a null cell in one of `columns` for a fault from now on."""
        self._required = columns

    def __iter__(self) -> Iterator[Row]:
        """Yield {column: value}; a null cell is None.

        Raises:
            DatasetError: a row cannot be used, unless `skip_bad_rows`.
        """
        for place, rows in enumerate(self._ranges):
            is_wanted = rows is None or len(rows) > 0
            if place and is_wanted:
                self._reader = self._open(place)
                self._check_columns(self._reader)
            if is_wanted:
                for _, row in self._reader.require(*self._required):
                    yield row
            else:
                self._reader.close()
            self._done = place + 1

    def close(self) -> None:
        """Close the input that is open."""
        self._reader.close()

    def share_read(self) -> float | None:
        """Return which share of all inputs has been read, 0 to 1; None while unknown."""
        total = sum(self._weights)
        if not total or 0 in self._weights:
            return None
        if self._done == len(self._paths):
            return 1.0
        share = self._reader.share_read()
        if share is None:
            return None
        return (sum(self._weights[: self._done]) + share * self._weights[self._done]) / total

    def _check_columns(self, reader: RowReader) -> None:
        if set(reader.columns) == set(self.columns):
            return
        odd = [column for column in reader.columns if column not in self.columns]
        missing = [column for column in self.columns if column not in reader.columns]
        found = f"has no column {missing[0]!r}" if missing else f"has a column {odd[0]!r}"
        raise DatasetError(
            f"{reader.name}: {found}",
            expected=f"the columns of {self.name}: " + ", ".join(map(repr, self.columns)),
            remedy="predict it on its own, or give it the same columns",
        )


def _num_bytes(path: str) -> int:
    """Return the size of a file; 0 of what has none."""
    try:
        return 0 if path == STDIN else os.stat(os.path.expanduser(path)).st_size
    except OSError:  # told by whoever opens it
        return 0
