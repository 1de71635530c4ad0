"""Parquet: rows streamed batch by batch, every value as a string."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lasttoken.data.files import open_seekable, shown_name
from lasttoken.data.rows import Record, Row, Table, refuse_doubled
from lasttoken.errors import DatasetError

_BATCH_ROWS = 1024
_BUFFER_BYTES = 1 << 16  # read at once of a column; without it, a row group's whole column is


def open_parquet(path: str) -> Table:
    """Open a Parquet file, whose rows are given as strings.

    Raises:
        DatasetError: the file is missing or no Parquet.
    """
    import pyarrow as pa  # slow to import: not before a Parquet file is opened
    import pyarrow.parquet as pq

    name = shown_name(path)
    source = open_seekable(path)
    try:
        file = pq.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        columns: list[str] = list(file.schema_arrow.names)
        refuse_doubled(name, columns, "in the program that wrote the file")
    except DatasetError:
        source.close()
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        source.close()
        raise DatasetError(
            f"{name}: no Parquet file: {str(error).splitlines()[0]}",
            expected="a complete Parquet file",
            remedy="check that the file was written completely, or rename it after its format",
        ) from error

    def records(start: int) -> Iterator[Record]:
        groups, number = _groups_from(file.metadata, start)
        batches = file.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise DatasetError(
                    f"{name}: damaged behind row {number:,}: {str(error).splitlines()[0]}",
                    expected="a Parquet file as it was written",
                    remedy="write or copy the file again",
                ) from error
            if batch is None:
                return
            fresh = batch.slice(max(0, start - number))
            number += len(batch) - len(fresh)
            values = [column.to_pylist() for column in fresh.columns]
            for cells in zip(*values, strict=True):
                number += 1
                yield number, _row(name, number, columns, cells)

    return Table(name, columns, records(0), records, file.metadata.num_rows, close=source.close)


def _groups_from(metadata: Any, start: int) -> tuple[list[int], int]:  # noqa: ANN401 - untyped
    """Return the row groups that hold rows from `start` on, and the rows in front of them."""
    before = 0
    for group in range(metadata.num_row_groups):
        num_rows = metadata.row_group(group).num_rows
        if before + num_rows > start:
            return list(range(group, metadata.num_row_groups)), before
        before += num_rows
    return [], before


def _row(name: str, number: int, columns: list[str], cells: tuple[Any, ...]) -> Row | DatasetError:
    row: Row = {}
    for column, cell in zip(columns, cells, strict=True):
        try:
            row[column] = cell_string(cell)
        except UnicodeDecodeError:
            return DatasetError(
                f"{name}: row {number:,}, column {column!r}: bytes that are not UTF-8",
                expected="strings, or bytes of UTF-8 text",
                remedy="leave the row out with --skip-bad-rows, or write the column as strings",
            )
    return row


def cell_string(cell: object) -> str | None:
    """Return a cell of an Arrow table as a string; None stays None.

    Raises:
        UnicodeDecodeError: the cell holds bytes that are not UTF-8.
    """
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, bytes):
        return cell.decode()
    if isinstance(cell, dict | list):
        return json.dumps(cell, ensure_ascii=False, default=str)
    return str(cell)


def read_columns(path: Path) -> dict[str, list[Any]]:
    """Read a whole Parquet file of our own, column by column.

    Raises:
        OSError: the file is missing.
        ValueError: it is no Parquet.
    """
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = pq.read_table(path).to_pydict()
    return columns


def arrow_schema(
    columns: Sequence[str], kinds: Mapping[str, type], rows: Sequence[Mapping[str, object]] = ()
) -> Any:  # noqa: ANN401 - untyped
    """Return the Arrow schema of rows.

    Args:
        columns: in their order.
        kinds: bool, int, float or str of some columns.
        rows: whose first values tell the types of the other columns; strings if there are none.
    """
    import pyarrow as pa

    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    fields = []
    for column in columns:
        first = next((row[column] for row in rows if row[column] is not None), "")
        fields.append((column, types.get(kinds.get(column, type(first)), pa.string())))
    return pa.schema(fields)


def arrow_table(
    rows: Sequence[Mapping[str, object]], columns: Sequence[str], kinds: Mapping[str, type]
) -> Any:  # noqa: ANN401 - untyped
    """Return rows as an Arrow table; columns without a kind are strings."""
    import pyarrow as pa

    return pa.Table.from_pylist(rows, schema=arrow_schema(columns, kinds))
