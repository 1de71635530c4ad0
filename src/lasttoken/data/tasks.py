"""A task: how labels are written and what they mean, told before any is read.

lasttoken train DATA --task multi-label --label-separator ";"
TextClassifier(task="ordinal", label_order=["low", "mid", "high"])
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from lasttoken.data.written import (
    SEPARATOR,
    LabelKind,
    join_set,
    refuse_separator,
    split_set,
    to_number,
)
from lasttoken.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from lasttoken.data.labels import LabelSpec

# Of a regression: splits are drawn from so many ranges of the numbers, which hold equally many.
MAX_RANGES = 10


@dataclass(frozen=True)
class Task:
    """What labels mean.

    Attributes:
        kind: see `LabelSpec`.
        separator: multi-label: between the labels of a set.
        order: ordinal: the labels from the lowest to the highest; None orders numbers by value.
        columns: multi-label: columns of 0 and 1, one a label, and these are all labels; none: one
            column holds the sets.
        name: regression: what the number is called.
    """

    kind: LabelKind = "single_label"
    separator: str = SEPARATOR
    order: tuple[str, ...] | None = None
    columns: tuple[str, ...] = ()
    name: str = "score"

    @property
    def may_be_empty(self) -> bool:
        """Return whether an empty label has a meaning: the empty set."""
        return self.kind == "multi_label"

    def canonical(self, label: str) -> str:
        """Return a label as `Example.label` holds it.

        Of a set: distinct labels by code point, joined; white space around a label is left out,
        and a JSON list is read as one.

        Raises:
            DatasetError: a set has an empty label, a label of a list contains the separator or is
                no string or number, or a number is none.
        """
        return _CANONICAL[self.kind](self, label)

    def names(self, label: str) -> tuple[str, ...]:
        """Return the labels that an example with this label has; none of a regression."""
        return _NAMES[self.kind](self, label)

    def spec(self, labels: Iterable[str]) -> LabelSpec:
        """Return what is learned from training examples with these labels.

        Raises:
            DatasetError: as `LabelSpec.from_labels`.
        """
        from lasttoken.data.labels import LabelSpec  # brings torch, which reading does without

        return LabelSpec.from_labels(
            labels,
            self.kind,
            separator=self.separator,
            order=self.columns or self.order,
            name=self.name,
        )

    def strata(self, labels: Sequence[str], most: int) -> list[str]:
        """Return what each example counts as when shares are drawn that resemble the whole.

        The label; of a set its rarest label; of a number the range that it lies in.

        Args:
            labels: N labels.
            most: ranges of numbers, at most; no more than `MAX_RANGES`.
        """
        return _STRATA[self.kind](self, labels, most)

    def describe(self, labels: Sequence[str]) -> str:
        """Return a few words on how often which label occurs, or on the numbers."""
        return _DESCRIBE[self.kind](self, labels)


def kind_of(name: str) -> LabelKind:
    """Return the kind of task that people call `name`, such as "multi-label".

    Raises:
        ConfigError: there is none.
    """
    kinds: dict[str, LabelKind] = {name_of(kind): kind for kind in get_args(LabelKind)}
    if name not in kinds:
        raise ConfigError(
            f"--task {name}",
            expected="one of " + ", ".join(kinds),
            remedy="--task multi-label, if an example may have several labels",
        )
    return kinds[name]


def name_of(kind: LabelKind) -> str:
    """Return what people call a kind of task."""
    return kind.replace("_", "-")


def task_of(labels: LabelSpec, columns: tuple[str, ...] = ()) -> Task:
    """Return the task of a trained model.

    Args:
        labels: of the model.
        columns: as for `Task`.

    Raises:
        ConfigError: there are columns, and none of them for one of the labels: whether an example
            has it would not be known.
    """
    without = [label for label in labels.labels if label not in columns]
    if columns and without:
        raise ConfigError(
            f"--label-columns {','.join(columns)}: none for the model's label {without[0]!r}",
            expected="a column of 0 and 1 for each of " + ", ".join(labels.labels[:10]),
            remedy="name them all, or --label-column, whose cells hold sets",
        )
    order = labels.labels if labels.kind == "ordinal" else None
    return Task(labels.kind, labels.separator, order, columns, labels.labels[0])


def _as_written(task: Task, label: str) -> str:
    return label


def _canonical_set(task: Task, label: str) -> str:
    parts = _json_list(label)
    if parts is None:
        stripped = label.strip()
        parts = [part.strip() for part in stripped.split(task.separator)] if stripped else []
        if "" in parts:
            raise DatasetError(
                f"label set {label!r}: nothing between two separators {task.separator!r}",
                expected="labels with a separator between them; an empty cell is the empty set",
                remedy="mend the set, or another --label-separator",
            )
    for part in parts:
        refuse_separator(part, task.separator)
    return join_set(parts, task.separator)


def _json_list(label: str) -> list[str] | None:
    """Return the parts of a JSON list of strings or numbers; None if it is no JSON list.

    Raises:
        DatasetError: a part is neither.
    """
    if not label.startswith("["):
        return None
    try:
        parts: list[str] = json.loads(label, parse_int=str, parse_float=str)
    except ValueError:
        return None
    for part in parts:
        if not isinstance(part, str):
            raise DatasetError(
                f"label set {label!r}: {json.dumps(part)} is no label",
                expected="a list of strings or numbers",
                remedy="mend the list",
            )
    return parts


def _canonical_number(task: Task, label: str) -> str:
    to_number(label)
    return label


def _one_name(task: Task, label: str) -> tuple[str, ...]:
    return (label,)


def _names_of_set(task: Task, label: str) -> tuple[str, ...]:
    return split_set(label, task.separator)


def _no_names(task: Task, label: str) -> tuple[str, ...]:
    return ()


def _strata_of_labels(task: Task, labels: Sequence[str], most: int) -> list[str]:
    return list(labels)


def _strata_of_sets(task: Task, labels: Sequence[str], most: int) -> list[str]:
    counts = Counter(name for label in labels for name in task.names(label))
    return [
        min(task.names(label), key=lambda name: (counts[name], name), default="")
        for label in labels
    ]


def _strata_of_numbers(task: Task, labels: Sequence[str], most: int) -> list[str]:
    import numpy as np

    numbers = np.array([to_number(label) for label in labels])
    ranges = max(1, min(MAX_RANGES, most))
    inner = np.unique(np.quantile(numbers, np.linspace(0, 1, ranges + 1)[1:-1]))
    place = np.searchsorted(inner, numbers, side="right")
    ends = {p: (numbers[place == p].min(), numbers[place == p].max()) for p in np.unique(place)}
    return [f"{ends[p][0]:g} to {ends[p][1]:g}" for p in place]


def _describe_labels(task: Task, labels: Sequence[str]) -> str:
    counts = Counter(name for label in labels for name in task.names(label)).most_common()
    shown = ", ".join(f"{label} {count:,}" for label, count in counts[:8])
    return shown + (f" and {len(counts) - 8} more labels" if len(counts) > 8 else "")


def _describe_sets(task: Task, labels: Sequence[str]) -> str:
    empty = sum(not label for label in labels)
    mean = sum(len(task.names(label)) for label in labels) / max(1, len(labels))
    return f"{_describe_labels(task, labels)}; {mean:.2f} labels each, {empty:,} with none"


def _describe_numbers(task: Task, labels: Sequence[str]) -> str:
    import numpy as np

    numbers = np.array([to_number(label) for label in labels])
    low, middle, high = np.percentile(numbers, [0, 50, 100])
    return f"{task.name} from {low:g} to {high:g}, median {middle:g}, mean {numbers.mean():g}"


_CANONICAL: dict[LabelKind, Callable[[Task, str], str]] = {
    "single_label": _as_written,
    "multi_label": _canonical_set,
    "ordinal": _as_written,
    "regression": _canonical_number,
}
_NAMES: dict[LabelKind, Callable[[Task, str], tuple[str, ...]]] = {
    "single_label": _one_name,
    "multi_label": _names_of_set,
    "ordinal": _one_name,
    "regression": _no_names,
}
_STRATA: dict[LabelKind, Callable[[Task, Sequence[str], int], list[str]]] = {
    "single_label": _strata_of_labels,
    "multi_label": _strata_of_sets,
    "ordinal": _strata_of_labels,
    "regression": _strata_of_numbers,
}
_DESCRIBE: dict[LabelKind, Callable[[Task, Sequence[str]], str]] = {
    "single_label": _describe_labels,
    "multi_label": _describe_sets,
    "ordinal": _describe_labels,
    "regression": _describe_numbers,
}
