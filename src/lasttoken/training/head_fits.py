"""Fits of linear heads to last-token states, for every kind of task.

A head has no intercept, as the heads of stock classifiers have none, and states are not centered,
so a fitted head stands in `score.weight` exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lasttoken.evaluation.folds import deal_into_folds
from lasttoken.evaluation.metrics import LabelIds

FOLDS = 5

# Inverse strengths of the L2 penalty that are tried, as scikit-learn counts them, for states that
# are scaled to a mean square of 1 a coordinate.
C_VALUES = (0.001, 0.01, 0.1, 1.0)

ITERATIONS = 50  # of `fit_heads`: every weight is within 3 % of the largest of its end then


def fit_heads(
    states: Tensor,
    targets: Tensor,
    inside: Tensor,
    num_labels: int,
    penalties: tuple[float, ...],
    iterations: int = ITERATIONS,
    prior: Tensor | None = None,
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
        prior: (C, H), a head from which the penalty counts the distance; None is the zero head.

    Returns:
        (penalties, P, C, H) heads without intercept. Of two labels, both have a row: minus and
        plus half of what scikit-learn calls `coef_`.

    Source:
        Steps by a fixed upper bound of the Hessian, the same for every part of the examples:
        Böhning and Lindsay, "Monotonicity of quadratic-approximation algorithms" (1988); sped up
        as in Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm" (2009).
    """
    is_binary = num_labels == 2  # one row then, for the second label, and a sigmoid
    wanted = functional.one_hot(targets, num_labels).to(states.dtype)  # (N, C)
    ahead = torch.zeros_like(wanted) if prior is None else states @ prior.T  # (N, C)
    if is_binary:
        wanted, ahead = wanted[:, 1:], ahead[:, 1:] - ahead[:, :1]
    squash = Tensor.sigmoid if is_binary else _softmax
    bound = 0.25 if is_binary else 0.5  # of the loss's second derivative by the logits
    weights = descend(states, wanted, ahead, inside, penalties, squash, bound, iterations)
    if is_binary:
        weights = torch.cat([-weights / 2, weights / 2], dim=2)
    return weights if prior is None else prior + weights


def descend(
    states: Tensor,
    wanted: Tensor,
    offsets: Tensor,
    inside: Tensor,
    penalties: tuple[float, ...],
    squash: Callable[[Tensor], Tensor],
    bound: float,
    iterations: int,
) -> Tensor:
    """Return the weights (penalties, P, rows, H) of `fit_heads`.

    Args:
        states: (N, H).
        wanted: (N, rows), 0 and 1.
        offsets: (N, rows), logits to which those of the weights are added.
        inside: (P, N) bool.
        penalties: inverse strengths.
        squash: logits (..., rows) to probabilities.
        bound: of the loss's second derivative by the logits.
        iterations: steps.
    """
    width, num_rows = states.shape[1], wanted.shape[1]
    gram = states.T @ states  # (H, H)
    inverses = torch.stack(
        [
            torch.cholesky_inverse(torch.linalg.cholesky(bound * gram + torch.eye(width) / c))
            for c in penalties
        ]
    )  # (penalties, H, H)
    wanted, offsets = wanted[:, None, None], offsets[:, None, None]
    ridges = 1 / torch.tensor(penalties)[:, None, None, None]
    shape = (len(penalties), len(inside), num_rows)
    weights = ahead = torch.zeros((*shape, width))
    momentum = 1.0
    for _ in range(iterations):
        logits = (states @ ahead.flatten(0, 2).T).view(-1, *shape)  # (N, penalties, P, rows)
        excess = squash(logits + offsets) - wanted
        excess *= inside.T[:, None, :, None]
        gradient = (excess.flatten(1).T @ states).view(*shape, width) + ridges * ahead
        step = (gradient.flatten(1, 2) @ inverses).view(*shape, width)
        new, new_momentum = ahead - step, (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / new_momentum * (new - weights)
        weights, momentum = new, new_momentum
    return weights


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
    states: Tensor,
    targets: Tensor,
    inside: Tensor,
    num_labels: int,
    prior: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Fit heads with every penalty.

    Args:
        states: (N, H).
        targets: (N,) int64 label ids.
        inside: (folds + 1, N) bool, of `leave_out_folds`.
        num_labels: C.
        prior: see `fit_heads`.

    Returns:
        (penalties, C, H) heads on all examples, and (penalties, N, C) logits of each example, by
        heads that were fitted without it.
    """
    scale = state_scale(states)
    scaled_prior = None if prior is None else prior * scale
    heads = (
        fit_heads(states / scale, targets, inside, num_labels, C_VALUES, prior=scaled_prior) / scale
    )
    return heads[:, -1], held_out(states, heads, inside)


def held_out(states: Tensor, heads: Tensor, inside: Tensor) -> Tensor:
    """Return logits (penalties, N, C) of each example, by heads that were fitted without it.

    Args:
        states: (N, H).
        heads: (penalties, folds + 1, C, H).
        inside: (folds + 1, N) bool.
    """
    logits = torch.empty((len(heads), len(states), heads.shape[2]))
    for p, kept in enumerate(inside[:-1]):
        logits[:, ~kept] = states[~kept] @ heads[:, p].transpose(1, 2)
    return logits


def state_scale(states: Tensor) -> float:
    """Return the root of the mean square of all coordinates; penalties are for states over it."""
    return max(float(states.square().mean().sqrt()), 1e-12)


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=-1)
