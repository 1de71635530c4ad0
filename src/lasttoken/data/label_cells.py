"""A row's label: out of its label column, or out of one column of 0 and 1 for each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lasttoken.data.columns import SampleRows, missing_column
from lasttoken.data.tasks import Task
from lasttoken.data.written import join_set
from lasttoken.errors import ConfigError, DatasetError

_BITS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}

_SEPARATORS = ("|", ";", ",")
_ENOUGH_SETS = 0.1  # of the cells hold a separator, before one is told of it


def label_of(row: Mapping[str, str | None], column: str | None, task: Task, place: str) -> str:
    """Return a row's label as `Example.label` holds it.

    Args:
        row: one of a table, without null cells where the label stands.
        column: the label column; None where each label has its own (`Task.columns`).
        task: what the labels mean.
        place: of the row, for messages.

    Raises:
        DatasetError: the label is empty, or not what the task's labels are.
    """
    if column is None:
        given = [label for label in task.columns if _bit(str(row[label]), label, place)]
        return join_set(given, task.separator)
    label = str(row[column])
    if not label and not task.may_be_empty:
        raise DatasetError(
            f"{place}, column {column!r}: the label is empty",
            expected="a label in every row",
            remedy="fill the cell, or give --skip-bad-rows",
        )
    return placed(label, task, f"{place}, column {column!r}")


def placed(label: str, task: Task, place: str) -> str:
    """Return `task.canonical(label)`, or tell where the label stands that has none.

    Raises:
        DatasetError: the label is not what the task's labels are.
    """
    try:
        return task.canonical(label)
    except DatasetError as error:
        raise DatasetError(
            f"{place}: {error.found}", expected=error.expected, remedy=error.remedy
        ) from error


def check_label_columns(
    columns: Sequence[str], task: Task, label_column: str | None, source: str
) -> None:
    """Check that every label has its column.

    Raises:
        DatasetError: a column is not there.
        ConfigError: a label column is given too.
    """
    if not task.columns:
        return
    if label_column is not None:
        raise ConfigError(
            f"--label-columns {','.join(task.columns)} with --label-column {label_column}",
            expected="one column that holds sets, or one column of 0 and 1 for each label",
            remedy="leave one of the two out",
        )
    for column in task.columns:
        if column not in columns:
            raise missing_column(columns, column, "--label-columns", f"{source}: ")


def sets_hint(rows: SampleRows, column: str) -> str | None:
    """Return a line if the labels of a single-label task look like sets, else None.

    They do where many cells hold a separator and what it parts comes back in other cells.
    """
    cells = [row[column] or "" for row in rows]
    for separator in _SEPARATORS:
        parts = {part.strip() for cell in cells for part in cell.split(separator)}
        num_sets = sum(separator in cell for cell in cells)
        if num_sets >= max(2, _ENOUGH_SETS * len(cells)) and len(parts) < len(set(cells)):
            return (
                f"column {column!r} looks like sets of labels, such as "
                f"{next(cell for cell in cells if separator in cell)!r}; each is taken for one "
                f"label (--task multi-label --label-separator '{separator}' takes them for sets)"
            )
    return None


def _bit(cell: str, column: str, place: str) -> bool:
    found = _BITS.get(cell.strip().lower())
    if found is None:
        raise DatasetError(
            f"{place}, column {column!r}: {cell!r} is neither 0 nor 1",
            expected="0 or 1 in every cell of --label-columns",
            remedy="mend the cell, leave the column out of --label-columns, or --skip-bad-rows",
        )
    return found
