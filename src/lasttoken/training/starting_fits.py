"""The head that training starts from, fitted to states: one way for each kind of task."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lasttoken.data.labels import LabelSpec
from lasttoken.data.written import LabelKind
from lasttoken.training.head_fits import (
    C_VALUES,
    ITERATIONS,
    cross_validated,
    descend,
    held_out,
    leave_out_folds,
    state_scale,
)


def fit_starting_head(
    states: NDArray[np.float32],
    targets: Tensor,
    labels: LabelSpec,
    *,
    seed: int,
    words: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Fit a head that training starts from, with the penalty of the least cross-validated loss.

    The loss, not the accuracy: a head whose logits are far too small is as accurate, and sends
    the blocks gradients that are far too small.

    Args:
        states: (N, H).
        targets: as `LabelSpec.encode` gives them.
        labels: C of them.
        seed: of the folds.
        words: (C, H), the language-model head's rows of a word for each label, or None. Heads that
            differ little from it are fitted too, and win if their loss is less.

    Returns:
        (C, H), as near to the end of the fit as the table's heads are.

    Source:
        A random head's first gradients distort what the model knows; a fitted one's do not: Kumar
        et al., "Fine-tuning can distort pretrained features" (arXiv 2202.10054).
    """
    prior = None
    if words is not None:  # what all labels have in common tells none of them apart
        prior = torch.from_numpy(words - words.mean(axis=0))
    fit = _STARTING[labels.kind]
    return fit(torch.from_numpy(states), targets, labels.num_logits, seed, prior)


def _start_from_labels(
    states: Tensor, targets: Tensor, num_labels: int, seed: int, words: Tensor | None
) -> NDArray[np.float32]:
    inside = leave_out_folds(targets.numpy(), seed)
    fits = [
        cross_validated(states, targets, inside, num_labels, prior)
        for prior in ((None,) if words is None else (None, words))
    ]
    return _least_loss(fits, lambda logits: functional.cross_entropy(logits, targets))


def _start_from_sets(
    states: Tensor, targets: Tensor, num_labels: int, seed: int, words: Tensor | None
) -> NDArray[np.float32]:
    """Fit a logistic regression for each label, all with one penalty."""
    inside = leave_out_folds(np.zeros(len(states), dtype=np.int64), seed)
    scale = state_scale(states)
    fits = []
    for prior in (None,) if words is None else (None, words):
        ahead = torch.zeros_like(targets) if prior is None else states @ prior.T
        weights = descend(
            states / scale, targets, ahead, inside, C_VALUES, Tensor.sigmoid, 0.25, ITERATIONS
        )
        heads = weights / scale if prior is None else prior + weights / scale
        fits.append((heads[:, -1], held_out(states, heads, inside)))
    return _least_loss(
        fits, lambda logits: functional.binary_cross_entropy_with_logits(logits, targets)
    )


def _least_loss(
    fits: Sequence[tuple[Tensor, Tensor]], loss: Callable[[Tensor], Tensor]
) -> NDArray[np.float32]:
    """Return the head, of several heads (K, C, H), whose held-out logits (K, N, C) are the best."""
    heads, logits = (torch.cat(parts) for parts in zip(*fits, strict=True))
    best = int(np.argmin([float(loss(each)) for each in logits]))
    return np.asarray(heads[best].numpy())


def _start_from_numbers(
    states: Tensor, targets: Tensor, num_labels: int, seed: int, words: Tensor | None
) -> NDArray[np.float32]:
    """Fit a ridge regression, its penalty chosen by leave-one-out."""
    del num_labels, seed, words  # one number, and nothing is dealt
    from sklearn.linear_model import RidgeCV

    scale = state_scale(states)
    model = RidgeCV(alphas=[1 / c for c in C_VALUES], fit_intercept=False)
    model.fit((states / scale).numpy(), targets.numpy())
    return np.asarray(model.coef_[None] / scale, dtype=np.float32)


_Fit = Callable[[Tensor, Tensor, int, int, Tensor | None], NDArray[np.float32]]
_STARTING: dict[LabelKind, _Fit] = {
    "single_label": _start_from_labels,
    "ordinal": _start_from_labels,
    "multi_label": _start_from_sets,
    "regression": _start_from_numbers,
}
