"""Labels as Python programs give and want them: strings, numbers, sets, rows of 0 and 1.

y                           task          `Example.label`
["neg", "pos"]  [0, 1]      single-label  "neg"  "0"
[{"joy", "fear"}, set()]    multi-label   "fear|joy"  ""
[[1, 0, 1], [0, 0, 0]]      multi-label   "0|2"  ""        an array (N, C)
[3.5, 2]                    regression    "3.5"  "2"
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lasttoken.data.tasks import Task
from lasttoken.data.written import (
    LabelType,
    join_set,
    label_type,
    refuse_separator,
)
from lasttoken.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_BITS = {"0", "1", "False", "True"}  # of which rows consist that are meant as an array


@dataclass(frozen=True)
class GivenLabels:
    """Labels as they were given.

    Attributes:
        values: one an example, in a list; None if the texts carry them.
        task: whose labels they are: an array (N, C) names them all, "0" to C - 1.
        type: of a label, or "indicator" for an array (N, C).
    """

    values: Any
    task: Task
    type: LabelType


def read_labels_given(labels: Any, task: Task) -> GivenLabels:  # noqa: ANN401 - whatever a caller has
    """Take labels as they come; a check of each follows in `label_string`.

    Raises:
        DatasetError: an array of a multi-label task has another value than 0 and 1; or labels that
            are names are numbers such as 0.5.
    """
    if labels is None or isinstance(labels, str):  # a string is left for later checks to refuse
        return GivenLabels(labels, task, "str")
    if task.kind == "multi_label" and getattr(labels, "ndim", 1) == 2:
        import numpy as np

        rows = labels.toarray() if hasattr(labels, "toarray") else labels  # of scipy's sparse ones
        sets, num_labels = _sets_of_rows(np.asarray(rows))
        columns = tuple(str(number) for number in range(num_labels))
        return GivenLabels(sets, replace(task, columns=columns), "indicator")
    values = list(labels)  # an iterator is read once, here
    if task.kind == "regression":
        return GivenLabels(values, task, "str")
    members = values
    if task.kind == "multi_label":
        members = [each for value in values if _is_set(value) for each in value]
    kind = label_type(members)
    if kind == "float" and task.kind == "single_label":
        _refuse_continuous(values)
    return GivenLabels(values, task, kind)


def label_string(label: object, position: int, task: Task) -> str:
    """Return a label as `Example.label` holds it.

    Raises:
        DatasetError: it is missing or of another form than the task's labels have.
    """
    if task.kind != "multi_label":
        return _placed(_scalar_string(label, position), position, task)
    if not _is_set(label):
        found = "missing" if is_missing(label) else f"of type {type(label).__name__}: {label!r:.60}"
        split = f'[label.split("{task.separator}") for label in labels]'
        raise DatasetError(
            f"labels[{position}] is {found}",
            expected="a set, list or tuple of labels in every place, or an array (N, C) of 0 and 1",
            remedy=split if isinstance(label, str) else "set() for a text without a label",
        )
    members: Any = label
    parts = [_scalar_string(member, position) for member in members]
    for part in parts:
        refuse_separator(part, task.separator)
    if len(set(parts)) < len(parts) and set(parts) <= _BITS:
        raise DatasetError(
            f"labels[{position}] is {label!r:.60}: a list of labels, in which one stands twice",
            expected="each label once; or, for a row of 0 and 1 an example, an array (N, C)",
            remedy="np.array(labels)",
        )
    return join_set(parts, task.separator)


def label_strings(labels: Iterable[Any], task: Task) -> list[str]:
    """Return labels in any form as `Example.label` holds them.

    Raises:
        DatasetError: as `label_string`.
    """
    given = read_labels_given(labels, task)
    return [label_string(label, place, task) for place, label in enumerate(given.values)]


def answers_of_sets(
    given: NDArray[np.bool_], classes: NDArray[Any], kind: LabelType
) -> list[tuple[Any, ...]] | NDArray[np.int64]:
    """Return sets in the form in which `fit` was given them.

    Args:
        given: (N, C), which labels each text has.
        classes: (C,) labels.
        kind: "indicator" gives an array (N, C); others a list of N tuples.
    """
    if kind == "indicator":
        return given.astype("int64")
    return [tuple(classes[row].tolist()) for row in given]


def is_missing(value: object) -> bool:
    """Return whether a value stands for none."""
    # pandas' own marks are known by name, so that pandas need not be there.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, numbers.Real) and value != value


def _sets_of_rows(rows: NDArray[Any]) -> tuple[list[tuple[str, ...]], int]:
    """Return the labels of each row of 0 and 1, and C."""
    import numpy as np

    wrong = np.argwhere(~((rows == 0) | (rows == 1)))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise DatasetError(
            f"labels[{row}, {column}] is {rows[row, column]!r}",
            expected="0 or 1 in every place of an array (N, C): whether text n has label c",
            remedy="give 0 and 1, or sets of labels",
        )
    return [tuple(map(str, np.flatnonzero(row).tolist())) for row in rows], rows.shape[1]


def _refuse_continuous(values: list[float]) -> None:
    for place, value in enumerate(values):
        if not is_missing(value) and not float(value).is_integer():
            raise DatasetError(
                f"labels[{place}] is {float(value)!r}, so these labels are continuous numbers",
                expected="labels that are names: strings, whole numbers or bools",
                remedy='task="regression" predicts numbers; str(label) makes them names',
            )


def _is_set(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _placed(label: str, position: int, task: Task) -> str:
    try:
        return task.canonical(label)
    except DatasetError as error:
        raise DatasetError(
            f"labels[{position}]: {error.found}", expected=error.expected, remedy=error.remedy
        ) from error


def _scalar_string(label: Any, position: int) -> str:  # noqa: ANN401 - whatever a caller has
    if hasattr(label, "item") and getattr(label, "ndim", 0) == 0:
        label = label.item()
    if is_missing(label) or label == "":
        found = "empty" if label == "" else "missing"
    elif isinstance(label, str | bool | int | float):
        return str(label)
    else:
        found = f"of type {type(label).__name__}: {label!r:.60}"
    raise DatasetError(
        f"labels[{position}] is {found}",
        expected="a string, an integer or a bool in every place",
        remedy="leave these rows out, or give them a label",
    )
