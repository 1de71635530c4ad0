"""The columns that `lasttoken predict` appends: what was decided, and how probable it is.

single-label, ordinal    predicted_label, predicted_probability, probability_LABEL ...
multi-label              predicted_labels, probability_LABEL ...
regression               predicted_value
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.tasks import name_of
from lasttoken.data.written import LabelKind, join_set
from lasttoken.errors import ConfigError

_Decisions = NDArray[Any]
_Probs = NDArray[np.float64]


class LabelNames(Protocol):
    """The labels of a model, exported or not; see `LabelSpec`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """C label strings in the order of their ids."""

    @property
    def kind(self) -> LabelKind:
        """Of the task."""

    @property
    def separator(self) -> str:
        """Between the labels of a set."""


def answer_column_kinds(labels: LabelNames) -> dict[str, type]:
    """Return the names of the columns, in their order, and the types of their values."""
    form = _FORMS[labels.kind]
    probs = {f"probability_{label}": float for label in labels.labels if form.has_probs}
    return {**form.kinds, **probs}


def answer_columns(
    labels: LabelNames, probs: NDArray[np.float64], decisions: NDArray[Any]
) -> list[dict[str, Any]]:
    """Return the columns of each text.

    Args:
        labels: of the model.
        probs: (N, C), or (N, 1) numbers.
        decisions: N of them, as `Predictor.decide` gives them.
    """
    names = answer_column_kinds(labels)
    values = _FORMS[labels.kind].values
    return [
        dict(zip(names, values(labels, row, decision), strict=True))
        for row, decision in zip(probs, decisions, strict=True)
    ]


def refuse_other_kinds(labels: LabelNames, flag: str, kinds: Sequence[LabelKind]) -> None:
    """Refuse a flag that has no meaning for a task.

    Raises:
        ConfigError: the model's task is none of `kinds`.
    """
    if labels.kind not in kinds:
        raise ConfigError(
            f"{flag} with a model of task {name_of(labels.kind)}",
            expected="a model of task " + " or ".join(map(name_of, kinds)),
            remedy=f"leave {flag.split()[0]} out",
        )


def _of_one_label(labels: LabelNames, probs: _Probs, decision: Any) -> tuple[Any, ...]:  # noqa: ANN401 - by kind
    return labels.labels[decision], float(probs[decision]), *probs.tolist()


def _of_sets(labels: LabelNames, probs: _Probs, decision: Any) -> tuple[Any, ...]:  # noqa: ANN401 - by kind
    given = (name for name, is_given in zip(labels.labels, decision, strict=True) if is_given)
    return join_set(given, labels.separator), *probs.tolist()


def _of_numbers(labels: LabelNames, probs: _Probs, decision: Any) -> tuple[Any, ...]:  # noqa: ANN401 - by kind
    return (float(decision),)


@dataclass(frozen=True)
class _Form:
    """The columns of one kind of task: those before the probabilities, whether there are any."""

    kinds: dict[str, type]
    has_probs: bool
    values: Callable[[LabelNames, _Probs, Any], tuple[Any, ...]]


_ONE_LABEL = _Form({"predicted_label": str, "predicted_probability": float}, True, _of_one_label)
_FORMS: dict[LabelKind, _Form] = {
    "single_label": _ONE_LABEL,
    "multi_label": _Form({"predicted_labels": str}, True, _of_sets),
    "ordinal": _ONE_LABEL,
    "regression": _Form({"predicted_value": float}, False, _of_numbers),
}
