"""The labels of training examples, collected and ordered: one function a kind of task.

Each takes all labels, the separator of sets, an order if one is given, and the name of a number;
and returns the labels in their stored order with the scale of a regression (1 elsewhere). What
each refuses stands at `LabelSpec.from_labels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lasttoken.data.written import label_ids, split_set, to_number
from lasttoken.errors import DatasetError

Collected = tuple[tuple[str, ...], float]


def single_labels(
    labels: list[str], separator: str, order: Sequence[str] | None, name: str
) -> Collected:
    """Return the distinct labels by code point."""
    ordered = tuple(sorted(set(labels)))
    _at_least_two(ordered)
    return ordered, 1.0


def set_labels(
    labels: list[str], separator: str, order: Sequence[str] | None, name: str
) -> Collected:
    """Return the labels of sets: all that are named, else those that occur, by code point."""
    found = {part for label in labels for part in split_set(label, separator)}
    if not found:
        raise DatasetError(
            f"none of the {len(labels):,} training examples has a label",
            expected="at least one example with a label",
            remedy="check --label-column and --label-separator",
        )
    ordered = tuple(sorted(found) if order is None else order)
    label_ids(sorted(found), {label: place for place, label in enumerate(ordered)})
    return ordered, 1.0


def ordinal_labels(
    labels: list[str], separator: str, order: Sequence[str] | None, name: str
) -> Collected:
    """Return labels from the lowest to the highest: as named, else by value."""
    found = sorted(set(labels))
    _at_least_two(found)
    if order is None:
        return _ordered_by_value(found), 1.0
    label_ids(found, {label: place for place, label in enumerate(order)})
    absent = [label for label in order if label not in set(found)]
    if absent or len(set(order)) < len(order):
        twice = [label for label in order if list(order).count(label) > 1]
        what = f"has no label {absent[0]!r}" if absent else f"cannot order {twice[0]!r} twice"
        raise DatasetError(
            f"--label-order {','.join(order)}: the training data {what}",
            expected="each of its labels once: " + ", ".join(found[:10]),
            remedy="--label-order with the labels that are there, the lowest first",
        )
    return tuple(order), 1.0


def _ordered_by_value(labels: Sequence[str]) -> tuple[str, ...]:
    try:
        value_of = {label: to_number(label) for label in labels}
    except DatasetError as error:
        raise DatasetError(
            f"ordinal {error.found}, so the order of the labels is not known",
            expected="numbers, which are ordered by value, or an order",
            remedy=f"--label-order {','.join(labels)} with the lowest first",
        ) from error
    ordered = sorted(labels, key=lambda label: value_of[label])
    for low, high in pairwise(ordered):
        if value_of[low] == value_of[high]:
            raise DatasetError(
                f"ordinal labels {low!r} and {high!r} are the same number",
                expected="one way of writing each number",
                remedy=f"write {high!r} as {low!r}, or give --label-order",
            )
    return tuple(ordered)


def number_labels(
    labels: list[str], separator: str, order: Sequence[str] | None, name: str
) -> Collected:
    """Return the number's name, and the root mean square of the numbers."""
    numbers = [to_number(label) for label in labels]
    _at_least_two(sorted({str(number) for number in numbers}))
    largest = max(map(abs, numbers))  # divided by first: squares may be beyond what a float holds
    scale = largest * float(np.sqrt(np.square(np.array(numbers) / largest).mean()))
    return (name,), scale


def _at_least_two(labels: Sequence[str]) -> None:
    if len(labels) < 2:
        found = f"one label only: {labels[0]!r}" if labels else "no labels at all"
        raise DatasetError(
            f"the training examples have {found}",
            expected="at least two different labels",
            remedy="check --label-column, or add examples of another label",
        )
