"""Labeled examples and what a model said of them, whatever the kind of their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.examples import Example
from lasttoken.evaluation.metrics import Probs
from lasttoken.evaluation.slices import column_values, length_ranges


@dataclass(frozen=True)
class ScoredExamples:
    """Labeled examples and what a model said of them.

    Attributes:
        examples: N.
        targets: the truth: label ids (N,) int64; label sets (N, C) bool; or numbers (N,) float64.
        logits: (N, C) float32, as the saved model gives them.
        probs: (N, C) float64, of these; of a regression the predicted values, (N, 1).
        num_tokens: (N,) int64, before cutting.
        truncated: (N,) bool.
    """

    examples: Sequence[Example]
    targets: NDArray[Any]
    logits: NDArray[np.float32]
    probs: Probs
    num_tokens: NDArray[np.int64]
    truncated: NDArray[np.bool_]


def grouped(
    test: ScoredExamples, slice_by: Sequence[str], own: Mapping[str, Sequence[str]]
) -> dict[str, Sequence[str]]:
    """Return what examples are grouped by to see where a model fails: group to N values.

    Args:
        test: N examples.
        slice_by: names of columns of the data.
        own: groups that only this kind of task has, such as the label.
    """
    values: dict[str, Sequence[str]] = {"length": length_ranges(test.num_tokens)}
    if test.truncated.any():
        values["cut at the longest length"] = ["yes" if cut else "no" for cut in test.truncated]
    values.update(own)
    for column in slice_by:
        values[f"column {column}"] = column_values(
            [example.extra.get(column) for example in test.examples]
        )
    return values
