"""Probe heads: what a linear head reads from each block's last-token state of a frozen model.

block      1      2   ...    16   ...    30
accuracy   0.62   0.66       0.86        0.84      cross-validated on training examples
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lasttoken.evaluation.metrics import LabelIds
from lasttoken.events import EventCallback, Progress, ignore
from lasttoken.training.head_fits import C_VALUES, cross_validated, leave_out_folds

# Examples that the table is made of: the standard error of an accuracy of 0.85 is 0.004 then.
MAX_TABLE_TEXTS = 8_000
# With more labels a fit costs as many times more; but never fewer examples than this.
MIN_TABLE_TEXTS = 2_000

FeaturesOfDepth = Callable[[int], NDArray[np.float32]]


@dataclass(frozen=True)
class ProbeRow:
    """What a head reads from the state behind one block.

    Attributes:
        depth: blocks up to there, counted from 1.
        cross_validated_accuracy: 0 to 1, over training examples, each judged by a head that was
            fitted without it.
        validation_accuracy: 0 to 1, of a head fitted on all of these training examples.
        C: inverse strength of the penalty, chosen by the cross-validation.
    """

    depth: int
    cross_validated_accuracy: float
    validation_accuracy: float
    C: float


@dataclass(frozen=True)
class ProbeTable:
    """A probe of every depth.

    Attributes:
        rows: depth 1 to n.
        num_examples: training examples behind it.
    """

    rows: tuple[ProbeRow, ...]
    num_examples: int

    def row(self, depth: int) -> ProbeRow:
        """Return the row of a depth, counted from 1."""
        return self.rows[depth - 1]

    def choose_depth(self, *, standard_errors: float = 1.0, at_least: int = 1) -> int:
        """Return the smallest depth that is as good as the best, by cross-validation.

        Args:
            standard_errors: how far below the best accuracy still counts as equal to it.
            at_least: depth below which none is taken.

        Source:
            The one-standard-error rule and its error, sqrt(p (1 - p) / N): Breiman, Friedman,
            Olshen and Stone, "Classification and Regression Trees" (1984), section 3.4.3.
        """
        rows = self.rows[at_least - 1 :]
        best = max(row.cross_validated_accuracy for row in rows)
        error = math.sqrt(best * (1 - best) / self.num_examples)
        enough = best - standard_errors * error - 1e-12  # equal numbers count as equal
        return next(row.depth for row in rows if row.cross_validated_accuracy >= enough)


def num_table_texts(num_labels: int) -> int:
    """Return how many training examples the table is made of, at most."""
    return max(MIN_TABLE_TEXTS, MAX_TABLE_TEXTS // max(1, num_labels - 1))


def make_probe_table(
    num_blocks: int,
    training: FeaturesOfDepth,
    train_label_ids: LabelIds,
    validating: FeaturesOfDepth,
    validation_label_ids: LabelIds,
    num_labels: int,
    *,
    seed: int,
    on_event: EventCallback = ignore,
) -> ProbeTable:
    """Fit and cross-validate a head on every block's last-token state.

    Args:
        num_blocks: n.
        training: gives the states (N, H) of a depth, 1 to n.
        train_label_ids: (N,).
        validating: likewise (M, H).
        validation_label_ids: (M,).
        num_labels: C.
        seed: of the folds, the same for every depth.
        on_event: hears `Progress("probe", ...)`.
    """
    inside = leave_out_folds(train_label_ids, seed)
    targets = torch.from_numpy(train_label_ids.astype(np.int64))
    validation_targets = torch.from_numpy(validation_label_ids.astype(np.int64))
    rows = []
    for depth in range(1, num_blocks + 1):
        states = torch.from_numpy(np.asarray(training(depth)))
        heads, logits = cross_validated(states, targets, inside, num_labels)
        accuracies = [_share_right(each, targets) for each in logits]
        best = int(np.argmax(accuracies))  # the stronger penalty of equals
        others = torch.from_numpy(np.asarray(validating(depth))) @ heads[best].T
        validated = _share_right(others, validation_targets)
        rows.append(ProbeRow(depth, accuracies[best], validated, C_VALUES[best]))
        on_event(Progress("probe", depth, num_blocks, "blocks"))
    return ProbeTable(tuple(rows), len(targets))


def _share_right(logits: Tensor, targets: Tensor) -> float:
    return float((logits.argmax(dim=1) == targets).sum()) / max(1, len(targets))
