"""CSV and TSV: records out of lines, strictly, with the place of every fault."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator

from lasttoken.data.files import Reach, read_lines, shown_name
from lasttoken.data.rows import Record, Table, refuse_doubled
from lasttoken.errors import DatasetError
from lasttoken.events import EventCallback, Note

_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}


def open_delimited(
    path: str,
    encoding: str,
    on_event: EventCallback,
    delimiter: str | None,
) -> Table:
    """Open a table of separated values.

    Args:
        path: a file or pipe, or "-" for standard input.
        encoding: used where no byte order mark says otherwise.
        on_event: told a separator other than the comma.
        delimiter: the separator, or None to judge it from the first line.

    Raises:
        DatasetError: the file cannot be read, or (here or while iterating) its first line or its
            quotes are broken.
    """
    name = shown_name(path)
    reach = Reach()
    lines = read_lines(path, encoding, "csv" if delimiter is None else "tsv", reach)
    first = next(lines)
    if delimiter is None:
        delimiter = _judge_delimiter(first)
        if delimiter != ",":
            on_event(Note(f"{name}: columns are separated by {_DELIMITERS[delimiter]}"))
    csv.field_size_limit(2**31 - 1)  # the default forbids texts beyond 131,072 characters
    reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter, strict=True)
    try:
        columns = next(filter(None, reader), [])
    except csv.Error as error:
        raise DatasetError(
            f"{name}: the line of column names is broken: {error}",
            expected="column names, such as text,label",
            remedy="mend the quotes in the first line of the file",
        ) from error
    refuse_doubled(name, columns, "in the first line of the file")
    records = _delimited_records(name, reader, columns, delimiter)
    return Table(name, columns, records, share_read=reach.share, close=lines.close)


def _judge_delimiter(header: str) -> str:
    # Only these four, and only by the header: a sniffer that looks into texts picks letters.
    def columns(delimiter: str) -> int:
        try:
            return len(next(csv.reader([header], delimiter=delimiter, strict=True), []))
        except csv.Error:
            return 0

    return max(_DELIMITERS, key=columns)


def _delimited_records(
    name: str,
    reader: Iterator[list[str]],
    columns: list[str],
    delimiter: str,
) -> Iterator[Record]:
    row = 1
    while True:
        line = reader.line_num + 1  # type: ignore[attr-defined]
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            last = reader.line_num  # type: ignore[attr-defined]
            fault = _quote_error(name, row, line, last, error)
            if last > line or "unexpected end" in str(error):
                # The stray quote has swallowed further rows: skipping would lose them unseen.
                raise fault from error
            yield row, fault
            row += 1
            continue
        if not fields and len(columns) == 1:
            fields = [""]  # the one text of this row is empty
        if not fields:
            continue  # a blank line is no row
        if len(fields) == len(columns):
            yield row, dict(zip(columns, fields, strict=True))
        else:
            yield (
                row,
                DatasetError(
                    f"{name}: row {row:,} (line {line:,}) has {len(fields)} fields, "
                    f"the first line has {len(columns)}",
                    expected=f"{len(columns)} fields in every row: {delimiter.join(columns)}",
                    remedy=f'put texts that hold {delimiter!r} into quotes "...", '
                    "or give --skip-bad-rows",
                ),
            )
        row += 1


def _quote_error(name: str, row: int, line: int, last: int, error: csv.Error) -> DatasetError:
    if "unexpected end" in str(error):
        found = f"a quote opens in row {row:,} (line {line:,}) and never closes"
    elif last > line:
        found = (
            f"a quote opens in row {row:,} (line {line:,}), closes in line {last:,}, "
            "and text goes on behind it"
        )
    else:
        found = f"row {row:,} (line {line:,}): text goes on behind a closing quote"
    return DatasetError(
        f"{name}: {found}",
        expected='quotes inside a quoted text written twice: "he said ""yes"""',
        remedy=f"mend the quotes in line {line:,}",
    )
