"""Probe heads: what a linear head reads from each block's last-token state of a frozen model.

    block      1      2   ...    16   ...    30
    accuracy   0.62   0.66       0.86        0.84      cross-validated on training examples

A head has no intercept, as the heads of stock classifiers have none, and states are not centered,
so a fitted head stands in `score.weight` exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lasttoken.evaluation.folds import deal_into_folds
from lasttoken.evaluation.metrics import LabelIds
from lasttoken.events import EventCallback, Progress, ignore

FOLDS = 5

# Inverse strengths of the L2 penalty that are tried, as scikit-learn counts them, for states that
# are scaled to a mean square of 1 a coordinate.
C_VALUES = (0.001, 0.01, 0.1, 1.0)

# Examples that the table is made of: the standard error of an accuracy of 0.85 is 0.004 then.
MAX_TABLE_TEXTS = 8_000
# With more labels a fit costs as many times more; but never fewer examples than this.
MIN_TABLE_TEXTS = 2_000

_ITERATIONS = 50  # of `fit_heads`: every weight is within 3 % of the largest of its end then

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


def fit_starting_head(
    states: NDArray[np.float32], label_ids: LabelIds, num_labels: int, *, seed: int
) -> NDArray[np.float32]:
    """Fit a head that training starts from, with the penalty of the least cross-validated loss.

    The loss, not the accuracy: a head whose logits are far too small is as accurate, and sends
    the blocks gradients that are far too small.

    Args:
        states: (N, H).
        label_ids: (N,).
        num_labels: C.
        seed: of the folds.

    Returns:
        (C, H), as near to the end of the fit as the table's heads are.

    Source:
        A random head's first gradients distort what the model knows; a fitted one's do not: Kumar
        et al., "Fine-tuning can distort pretrained features" (arXiv 2202.10054).
    """
    targets = torch.from_numpy(label_ids.astype(np.int64))
    inside = leave_out_folds(label_ids, seed)
    heads, logits = cross_validated(torch.from_numpy(states), targets, inside, num_labels)
    losses = [float(torch.nn.functional.cross_entropy(each, targets)) for each in logits]
    return heads[int(np.argmin(losses))].numpy()


def fit_heads(
    states: Tensor,
    targets: Tensor,
    inside: Tensor,
    num_labels: int,
    penalties: tuple[float, ...],
    iterations: int = _ITERATIONS,
) -> Tensor:
    """Fit many logistic regressions on parts of the same examples, all at once.

    One product with the states then serves every fold and every penalty: ten times as fast as
    one fit after the other.

    Args:
        states: (N, H) fp32, at most about 1 a coordinate.
        targets: (N,) int64 label ids.
        inside: (P, N) bool, which examples each of P problems learns from.
        num_labels: C.
        penalties: inverse strengths, as scikit-learn's `C`.
        iterations: see the source.

    Returns:
        (penalties, P, C, H) heads without intercept. Of two labels, both have a row: minus and
        plus half of what scikit-learn calls `coef_`.

    Source:
        Steps by a fixed upper bound of the Hessian, the same for every part of the examples:
        Böhning and Lindsay, "Monotonicity of quadratic-approximation algorithms" (1988); sped up
        as in Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm" (2009).
    """
    is_binary = num_labels == 2  # one row then, for the second label, and a sigmoid
    width, num_rows = states.shape[1], 1 if is_binary else num_labels
    bound = 0.25 if is_binary else 0.5  # of the loss's second derivative by the logits
    gram = states.T @ states  # (H, H)
    inverses = torch.stack(
        [
            torch.cholesky_inverse(torch.linalg.cholesky(bound * gram + torch.eye(width) / c))
            for c in penalties
        ]
    )  # (penalties, H, H)
    wanted = torch.nn.functional.one_hot(targets, num_labels).to(states.dtype)  # (N, C)
    wanted = wanted[:, None, None, -num_rows:]
    ridges = 1 / torch.tensor(penalties)[:, None, None, None]
    shape = (len(penalties), len(inside), num_rows)
    weights = ahead = torch.zeros((*shape, width))
    momentum = 1.0
    for _ in range(iterations):
        logits = (states @ ahead.flatten(0, 2).T).view(-1, *shape)  # (N, penalties, P, rows)
        excess = (logits.sigmoid() if is_binary else logits.softmax(dim=-1)) - wanted
        excess *= inside.T[:, None, :, None]
        gradient = (excess.flatten(1).T @ states).view(*shape, width) + ridges * ahead
        step = (gradient.flatten(1, 2) @ inverses).view(*shape, width)
        new, new_momentum = ahead - step, (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / new_momentum * (new - weights)
        weights, momentum = new, new_momentum
    return torch.cat([-weights / 2, weights / 2], dim=2) if is_binary else weights


def fit_head(
    states: NDArray[np.float32], label_ids: LabelIds, num_labels: int, *, penalty: float, seed: int
) -> NDArray[np.float32]:
    """Fit one logistic regression to its end.

    Args:
        states: (N, H).
        label_ids: (N,), at least two different ones.
        num_labels: C, the rows of the head.
        penalty: its inverse strength, `C` of the table, for states scaled as there.
        seed: of the solver.

    Returns:
        (C, H) head; labels without an example keep zeros.
    """
    from sklearn.linear_model import LogisticRegression

    scale = state_scale(torch.from_numpy(np.asarray(states)))
    model = LogisticRegression(C=penalty, fit_intercept=False, max_iter=1_000, random_state=seed)
    model.fit(states / scale, label_ids)
    rows = model.coef_ / scale
    if len(rows) == 1:  # softmax over both equals scikit-learn's sigmoid over the one
        rows = np.concatenate([-rows / 2, rows / 2])
    head = np.zeros((num_labels, states.shape[1]), dtype=np.float32)
    head[model.classes_] = rows
    return head


def leave_out_folds(
    label_ids: LabelIds, seed: int, copy_of: NDArray[np.int64] | None = None
) -> Tensor:
    """Return (folds + 1, N) bool: problem p leaves fold p out; the last one leaves nothing out.

    Args:
        label_ids: (N,).
        seed: of the folds.
        copy_of: (N,), one number for all copies of a text, which share a fold; None: no copies.
    """
    if copy_of is None:
        copy_of = np.arange(len(label_ids))
    _, first, place = np.unique(copy_of, return_index=True, return_inverse=True)
    folds = min(FOLDS, len(first))
    dealt = deal_into_folds(label_ids[first], folds, np.random.default_rng(seed))
    fold_of = torch.from_numpy(dealt[place])
    return torch.stack([fold_of != p for p in range(folds + 1)])


def cross_validated(
    states: Tensor, targets: Tensor, inside: Tensor, num_labels: int
) -> tuple[Tensor, Tensor]:
    """Fit heads with every penalty.

    Args:
        states: (N, H).
        targets: (N,) int64 label ids.
        inside: (folds + 1, N) bool, of `leave_out_folds`.
        num_labels: C.

    Returns:
        (penalties, C, H) heads on all examples, and (penalties, N, C) logits of each example, by
        heads that were fitted without it.
    """
    scale = state_scale(states)
    heads = fit_heads(states / scale, targets, inside, num_labels, C_VALUES) / scale
    logits = torch.empty((len(C_VALUES), len(states), num_labels))
    for p, kept in enumerate(inside[:-1]):
        logits[:, ~kept] = states[~kept] @ heads[:, p].transpose(1, 2)
    return heads[:, -1], logits


def state_scale(states: Tensor) -> float:
    """Return the root of the mean square of all coordinates; penalties are for states over it."""
    return max(float(states.square().mean().sqrt()), 1e-12)


def _share_right(logits: Tensor, targets: Tensor) -> float:
    return float((logits.argmax(dim=1) == targets).sum()) / max(1, len(targets))
