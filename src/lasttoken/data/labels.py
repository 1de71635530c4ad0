"""Labels: their one stored order, and what a task does with logits.

`LabelSpec` is the only place that knows how many logits a task has, what its targets look like,
which loss trains it and how probabilities become a decision. Only `single_label` exists so far;
a further kind is one more entry in the four tables at the end of this module.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lasttoken.errors import DatasetError

LabelKind = Literal["single_label"]
LabelType = Literal["str", "int", "bool"]


@dataclass(frozen=True)
class LabelSpec:
    """The labels of a task in their stored order, and the task's kind.

    Attributes:
        labels: C label strings; a label's id is its place in this tuple.
        kind: "single_label": every example has exactly one label.
    """

    labels: tuple[str, ...]
    kind: LabelKind = "single_label"

    @classmethod
    def from_labels(cls, labels: Iterable[str]) -> LabelSpec:
        """Collect the distinct labels, ordered by code point ("10" before "9").

        Raises:
            DatasetError: there are fewer than two distinct labels.
        """
        ordered = tuple(sorted(set(labels)))
        if len(ordered) < 2:
            found = f"one label only: {ordered[0]!r}" if ordered else "no labels at all"
            raise DatasetError(
                f"the training examples have {found}",
                expected="at least two different labels",
                remedy="check --label-column, or add examples of another label",
            )
        return cls(ordered)

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
        """Return C, the width of the head."""
        return len(self.labels)

    def encode(self, labels: Iterable[str]) -> Tensor:
        """Turn label strings into targets.

        Returns:
            (B,) int64 label ids.

        Raises:
            DatasetError: a label is not among `labels`.
        """
        return encode_labels(labels, self.label2id)

    def loss_sum(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the summed loss of a batch in nats: a scalar, fp32.

        Shapes:
            logits (B, C); targets (B,) int64 for `single_label`.

        Source:
            Cross-entropy, as in the sequence-classification heads of transformers.
        """
        return _LOSS_SUM[self.kind](logits.float(), targets)

    def probs(self, logits: Tensor) -> Tensor:
        """Return probabilities (B, C), fp32, rows summing to 1 for `single_label`."""
        return _ACTIVATION[self.kind](logits.float())

    def decide(self, probs: Tensor) -> Tensor:
        """Return predicted label ids (B,) int64: the most probable, the first of equals."""
        return _DECISION[self.kind](probs)


def encode_labels(labels: Iterable[str], label2id: Mapping[str, int]) -> Tensor:
    """Turn label strings into label ids (B,) int64.

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
    return torch.tensor(ids, dtype=torch.int64)


def label_type(labels: Sequence[Any] | None) -> LabelType:
    """Return the Python type of labels given to `fit`; they travel as strings."""
    if labels and all(isinstance(label, bool | np.bool_) for label in labels):
        return "bool"
    if labels and all(
        isinstance(label, int | np.integer) and not isinstance(label, bool) for label in labels
    ):
        return "int"
    return "str"


def to_label_type(labels: Iterable[str], kind: LabelType) -> NDArray[Any]:
    """Return label strings as an array (C,) of the type given to `fit`."""
    convert: dict[LabelType, Callable[[str], Any]] = {
        "str": str,
        "int": int,
        "bool": lambda label: label == "True",
    }
    return np.array([convert[kind](label) for label in labels])


def _cross_entropy_sum(logits: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=-1)


def _argmax(probs: Tensor) -> Tensor:
    return probs.argmax(dim=-1)


_LOSS_SUM: dict[LabelKind, Callable[[Tensor, Tensor], Tensor]] = {
    "single_label": _cross_entropy_sum
}
_ACTIVATION: dict[LabelKind, Callable[[Tensor], Tensor]] = {"single_label": _softmax}
_DECISION: dict[LabelKind, Callable[[Tensor], Tensor]] = {"single_label": _argmax}
