"""Shares of examples in which every label keeps its part: folds and samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.metrics import LabelIds


def deal_into_folds(label_ids: LabelIds, folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return each example's fold (N,): shuffled, sorted by label, then dealt like cards.

    Stratified whatever the counts; scikit-learn's StratifiedKFold warns about rare labels.
    """
    order = rng.permutation(len(label_ids))
    order = order[np.argsort(label_ids[order], kind="stable")]
    fold_of = np.empty(len(label_ids), dtype=np.int64)
    fold_of[order] = np.arange(len(label_ids)) % folds
    return fold_of


def stratified_sample(
    label_ids: LabelIds, size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the indices of about `size` examples in order, stratified; all if there are fewer."""
    if len(label_ids) <= size:
        return np.arange(len(label_ids))
    parts = []
    for label_id in np.unique(label_ids):
        members = rng.permutation(np.flatnonzero(label_ids == label_id))
        parts.append(members[: int(np.ceil(len(members) * size / len(label_ids)))])
    return np.sort(np.concatenate(parts))
