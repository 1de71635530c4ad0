"""Labels: their one stored order, and what a task does with logits.

`LabelSpec` is the only place that knows how many logits a task has, what its targets look like,
which loss trains it and how probabilities become a decision.

    kind            targets          loss, of one example             decision
    single_label    (B,) label ids   cross-entropy                    the most probable label
    ordinal         (B,) label ids   cross-entropy, near places too   the most probable label
    multi_label     (B, C) 0 and 1   binary cross-entropy, mean       every label from its
                                     over labels                      threshold on
    regression      (B,) numbers     squared error                    the number itself

An example's label is one string in each kind: `data.tasks` reads how it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lasttoken.data.label_order import (
    Collected,
    number_labels,
    ordinal_labels,
    set_labels,
    single_labels,
)
from lasttoken.data.losses import (
    IGNORED_LABEL,
    multi_label_loss,
    ordinal_loss,
    regression_loss,
    single_label_loss,
)
from lasttoken.data.written import (
    SEPARATOR,
    LabelKind,
    join_set,
    label_ids,
    refuse_separator,
    split_set,
    to_number,
)

THRESHOLD = 0.5  # from which probability on a label of a set is given, where none was fitted


@dataclass(frozen=True)
class LabelSpec:
    """The labels of a task in their stored order, and the task's kind.

    Attributes:
        labels: C label strings; a label's id is its place in this tuple. Ordinal labels stand in
            their order; regression has one, the name of what is predicted.
        kind: "single_label" and "ordinal": every example has exactly one label; "multi_label":
            any number, also none; "regression": a number.
        separator: between the labels of a set; no label contains it.
        scale: regression: targets are divided by it in training, so that the loss starts near 1
            whatever the unit; afterwards the head is multiplied by it, and it is 1.
    """

    labels: tuple[str, ...]
    kind: LabelKind = "single_label"
    separator: str = SEPARATOR
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check that sets of these labels can be written.

        Raises:
            DatasetError: a label of a multi-label task contains the separator.
        """
        if self.kind == "multi_label":
            for label in self.labels:
                refuse_separator(label, self.separator)

    @classmethod
    def from_labels(
        cls,
        labels: Iterable[str],
        kind: LabelKind = "single_label",
        *,
        separator: str = SEPARATOR,
        order: Sequence[str] | None = None,
        name: str = "score",
    ) -> LabelSpec:
        """Collect the labels of training examples.

        Args:
            labels: as in `Example.label`, one an example.
            kind: of the task.
            separator: between the labels of a set.
            order: ordinal: all labels from the lowest to the highest; None orders numbers by
                value. Multi-label: all labels; None takes those that occur.
            name: regression: what the number is called.

        Returns:
            Labels ordered by code point ("10" before "9") where no order is given.

        Raises:
            DatasetError: there are fewer than two distinct labels or numbers (multi-label: no
                label at all), ordinal labels are no numbers and have no order, an order and the
                labels do not fit, or a label of a regression is no finite number.
        """
        ordered, scale = _COLLECT[kind](list(labels), separator, order, name)
        return cls(ordered, kind, separator, scale)

    @property
    def label2id(self) -> dict[str, int]:
        """Return label to label id."""
        return {label: label_id for label_id, label in enumerate(self.labels)}

    @property
    def id2label(self) -> dict[int, str]:
        """Return label id to label."""
        return dict(enumerate(self.labels))

    @property
    def num_logits(self) -> int:
        """Return C, the width of the head; 1 for a regression."""
        return len(self.labels)

    @property
    def problem_type(self) -> str:
        """Return what transformers calls the task; an ordinal head is a plain single-label one."""
        return _PROBLEM_TYPES[self.kind]

    @property
    def loss_unit(self) -> float:
        """Return what a loss is multiplied by to stand in the unit of the labels: of numbers."""
        return self.scale**2

    def encode(self, labels: Iterable[str]) -> Tensor:
        """Turn label strings into targets.

        Returns:
            (B,) int64 label ids; multi-label (B, C) float32 of 0 and 1; regression (B,) float32
            numbers, divided by `scale`.

        Raises:
            DatasetError: a label is not among `labels`, or is no finite number.
        """
        return _ENCODE[self.kind](self, list(labels))

    def loss_sum(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the summed loss of a batch: a scalar, fp32.

        Nats; of a regression, squared error in units of `scale`. Rows of `IGNORED_LABEL` add
        nothing.

        Shapes:
            logits (B, C); targets as from `encode`.

        Source:
            Cross-entropy, binary cross-entropy (mean over labels) and squared error as in the
            sequence-classification heads of transformers. Ordinal: cross-entropy against
            softmax(-|i - j|) over places: Diaz and Marathe, "Soft labels for ordinal regression"
            (CVPR 2019).
        """
        return _LOSS_SUM[self.kind](logits.float(), targets)

    def probs(self, logits: Tensor) -> Tensor:
        """Return probabilities (B, C), fp32; of a regression the number itself, (B, 1).

        Rows sum to 1 but for multi-label, whose labels stand alone.
        """
        return _ACTIVATION[self.kind](logits.float()) * self.scale

    def decide(self, probs: Tensor, thresholds: Sequence[float | None] | None = None) -> Tensor:
        """Return decisions.

        Args:
            probs: (B, C), from `probs`.
            thresholds: of each of C labels, None where none was fitted; for multi-label only.

        Returns:
            (B,) int64 label ids, the most probable, the first of equals; multi-label (B, C) bool,
            True from the threshold on (0.5 where None); regression (B,) numbers.
        """
        return _DECISION[self.kind](probs, thresholds)

    def names(self, decisions: Tensor) -> list[str]:
        """Return decisions as they stand in `Example.label`."""
        return _NAMES[self.kind](self, decisions)


def encode_labels(labels: Iterable[str], label2id: Mapping[str, int]) -> Tensor:
    """Turn label strings into label ids (B,) int64.

    Raises:
        DatasetError: a label is not in `label2id`; names the label and the nearest known one.
    """
    return torch.tensor(label_ids(labels, label2id), dtype=torch.int64)


def _encode_sets(spec: LabelSpec, labels: list[str]) -> Tensor:
    targets = torch.zeros(len(labels), len(spec.labels))
    label2id = spec.label2id
    for row, label in enumerate(labels):
        targets[row, label_ids(split_set(label, spec.separator), label2id)] = 1.0
    return targets


def _encode_numbers(spec: LabelSpec, labels: list[str]) -> Tensor:
    values = np.array([to_number(label) / spec.scale for label in labels], dtype=np.float32)
    # A number that looks like a filled place is moved by the least step, so that it counts.
    values[values == IGNORED_LABEL] = np.nextafter(np.float32(IGNORED_LABEL), np.float32(0))
    return torch.from_numpy(values)


def _encode_ids(spec: LabelSpec, labels: list[str]) -> Tensor:
    return encode_labels(labels, spec.label2id)


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=-1)


def _most_probable(probs: Tensor, thresholds: Sequence[float | None] | None) -> Tensor:
    return probs.argmax(dim=-1)


def _from_threshold_on(probs: Tensor, thresholds: Sequence[float | None] | None) -> Tensor:
    least = [THRESHOLD if value is None else value for value in thresholds or [None]]
    return probs >= torch.tensor(least, dtype=torch.float64, device=probs.device)


def _number(probs: Tensor, thresholds: Sequence[float | None] | None) -> Tensor:
    return probs[:, 0]


def _names_of_ids(spec: LabelSpec, decisions: Tensor) -> list[str]:
    return [spec.labels[label_id] for label_id in decisions.tolist()]


def _names_of_sets(spec: LabelSpec, decisions: Tensor) -> list[str]:
    return [
        join_set(
            (name for name, given in zip(spec.labels, row, strict=True) if given), spec.separator
        )
        for row in decisions.tolist()
    ]


def _names_of_numbers(spec: LabelSpec, decisions: Tensor) -> list[str]:
    return [repr(number) for number in decisions.tolist()]


_COLLECT: dict[LabelKind, Callable[[list[str], str, Sequence[str] | None, str], Collected]] = {
    "single_label": single_labels,
    "multi_label": set_labels,
    "ordinal": ordinal_labels,
    "regression": number_labels,
}
_PROBLEM_TYPES: dict[LabelKind, str] = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "ordinal": "single_label_classification",
    "regression": "regression",
}
_ENCODE: dict[LabelKind, Callable[[LabelSpec, list[str]], Tensor]] = {
    "single_label": _encode_ids,
    "multi_label": _encode_sets,
    "ordinal": _encode_ids,
    "regression": _encode_numbers,
}
_LOSS_SUM: dict[LabelKind, Callable[[Tensor, Tensor], Tensor]] = {
    "single_label": single_label_loss,
    "multi_label": multi_label_loss,
    "ordinal": ordinal_loss,
    "regression": regression_loss,
}
_ACTIVATION: dict[LabelKind, Callable[[Tensor], Tensor]] = {
    "single_label": _softmax,
    "multi_label": torch.sigmoid,
    "ordinal": _softmax,
    "regression": Tensor.float,
}
_DECISION: dict[LabelKind, Callable[[Tensor, Sequence[float | None] | None], Tensor]] = {
    "single_label": _most_probable,
    "multi_label": _from_threshold_on,
    "ordinal": _most_probable,
    "regression": _number,
}
_NAMES: dict[LabelKind, Callable[[LabelSpec, Tensor], list[str]]] = {
    "single_label": _names_of_ids,
    "multi_label": _names_of_sets,
    "ordinal": _names_of_ids,
    "regression": _names_of_numbers,
}
