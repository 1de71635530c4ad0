"""How labels are written: one string an example, whatever the task.

one label       pos
a set           anger|joy      distinct, by code point; "" is the empty set
a number        3.5
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lasttoken.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LabelKind = Literal["single_label", "multi_label", "ordinal", "regression"]
LabelType = Literal["str", "int", "float", "bool", "indicator"]

SEPARATOR = "|"  # between the labels of a set

_LARGEST = 1e30  # numbers are learned in fp32, which ends at 3e38


def label_ids(labels: Iterable[str], label2id: Mapping[str, int]) -> list[int]:
    """Turn label strings into label ids.

    Raises:
        DatasetError: a label is not in `label2id`; names the label and the nearest known one.
    """
    ids = []
    for label in labels:
        if label not in label2id:
            near = difflib.get_close_matches(label, label2id, n=1, cutoff=0.6)
            raise DatasetError(
                f"label {label!r} is unknown",
                expected="one of " + ", ".join(repr(known) for known in list(label2id)[:10]),
                remedy=f"did you mean {near[0]!r}?" if near else "remove it, or train with it",
            )
        ids.append(label2id[label])
    return ids


def split_set(label: str, separator: str) -> tuple[str, ...]:
    """Return the labels of a set as `Example.label` holds it; "" is the empty set."""
    return tuple(label.split(separator)) if label else ()


def join_set(labels: Iterable[str], separator: str) -> str:
    """Return a set of labels as `Example.label` holds it: distinct, by code point, joined."""
    return separator.join(sorted(set(labels)))


def refuse_separator(label: str, separator: str) -> None:
    """Refuse a label of a set that cannot be told from two.

    Raises:
        DatasetError: the label is empty or contains the separator.
    """
    if not label or separator in label:
        found = (
            f"label {label!r} contains the separator {separator!r}" if label else "an empty label"
        )
        raise DatasetError(
            found,
            expected="labels that can be joined to a set and told apart again",
            remedy="another --label-separator (label_separator in Python), or rename the label",
        )


def to_number(label: str) -> float:
    """Return the number that a label of a regression is.

    Raises:
        DatasetError: it is no finite number, or too large for fp32.
    """
    try:
        number = float(label) if "_" not in label else math.nan  # Python alone reads 1_000
    except ValueError:
        number = math.nan
    if _LARGEST < abs(number) < math.inf:
        raise DatasetError(
            f"label {label!r} is too large",
            expected=f"-{_LARGEST:.0e} to {_LARGEST:.0e}, since numbers are learned in fp32",
            remedy="divide all labels by one number, or mend the label",
        )
    if not math.isfinite(number):
        raise DatasetError(
            f"label {label!r} is no finite number",
            expected="numbers such as 3 or -0.5, which a regression learns",
            remedy="mend the label, leave the row out, or --task single-label",
        )
    return number


def label_type(labels: Sequence[Any] | None) -> LabelType:
    """Return the Python type of labels given to `fit`; they travel as strings."""
    import numpy as np

    if labels and all(isinstance(label, bool | np.bool_) for label in labels):
        return "bool"
    if labels and all(
        isinstance(label, int | np.integer) and not isinstance(label, bool) for label in labels
    ):
        return "int"
    if labels and all(isinstance(label, float | np.floating) for label in labels):
        return "float"
    return "str"


def to_label_type(labels: Iterable[str], kind: LabelType) -> NDArray[Any]:
    """Return label strings as an array (C,) of the type given to `fit`."""
    import numpy as np

    convert: dict[LabelType, Callable[[str], Any]] = {
        "str": str,
        "int": int,
        "float": float,
        "bool": lambda label: label == "True",
        "indicator": int,
    }
    return np.array([convert[kind](label) for label in labels])
