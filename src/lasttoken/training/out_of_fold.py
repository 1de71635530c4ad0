"""Out-of-fold probabilities: what heads that were fitted without a text say of it.

    texts --one pass--> states behind every block     of a sample: which blocks are read best?
                        states behind those blocks    of all: five heads a block, each fitted on
                                                      four fifths of the texts, judges the rest
                        mean of the blocks' probabilities

Copies of a text share a fold, so that none of them vouches for the label of another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lasttoken.evaluation.folds import stratified_sample
from lasttoken.evaluation.metrics import LabelIds
from lasttoken.events import Event, EventCallback, Progress, ignore
from lasttoken.model.classifier import Classifier
from lasttoken.model.device import Precision
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.training.features import features_shape, fill_features
from lasttoken.training.head_fits import (
    C_VALUES,
    cross_validated,
    fit_heads,
    leave_out_folds,
    state_scale,
)
from lasttoken.training.probe_heads import num_table_texts
from lasttoken.training.scratch import scratch_array, scratch_folder

# Blocks whose probabilities are averaged: heads on different blocks err on different texts. A list
# of SmolLM2's for six labels was 9 points more precise than with the best block alone, those for
# two labels about as precise (benchmarks/label_check.py).
NUM_DEPTHS = 5

# Logits that one call of `fit_heads` holds, a few times over: 256 MB each time.
_MOST_LOGITS = 1 << 26


@dataclass(frozen=True)
class OutOfFold:
    """Probabilities by heads that each were fitted without the text they judge.

    Attributes:
        probs: (N, C) float64, rows summing to 1.
        depths: blocks, counted from 1, whose heads' probabilities were averaged; the one of the
            least cross-validated loss first.
    """

    probs: NDArray[np.float64]
    depths: tuple[int, ...]


def out_of_fold_probs(
    classifier: Classifier,
    texts: TokenizedTexts,
    label_ids: LabelIds,
    copy_of: NDArray[np.int64],
    *,
    device: torch.device,
    precision: Precision,
    seed: int,
    num_depths: int = NUM_DEPTHS,
    on_event: EventCallback = ignore,
) -> OutOfFold:
    """Judge every text by heads that were fitted without it and its copies.

    Each text passes the model once. Blocks and penalties are chosen on a sample, as many texts as
    the probe table takes; of the others only what those blocks give is kept.

    Args:
        classifier: on `device`; its weights stay as they are, and so does its head, which is not
            used; left in evaluation mode.
        texts: N texts.
        label_ids: (N,) int64, as given.
        copy_of: (N,), the same number for all copies of a text.
        device: where the classifier is.
        precision: of the pass.
        seed: of the sample and the folds.
        num_depths: blocks to average over, at most; all if there are fewer.
        on_event: hears `Progress("features", ...)` and `Progress("probe", ...)`.

    Raises:
        ConfigError: the states do not fit on the disk.
    """
    num_labels, num_texts = classifier.labels.num_logits, len(texts)
    rng = np.random.default_rng(seed)
    sample = stratified_sample(label_ids, num_table_texts(num_labels), rng)
    with scratch_folder() as folder:
        features = scratch_array(folder / "features", features_shape(classifier, len(sample)))

        def read(rows: NDArray[np.int64], done: int) -> None:
            def count(event: Event) -> None:
                if isinstance(event, Progress):
                    event = replace(event, done=done + event.done, total=num_texts)
                on_event(event)

            fill_features(
                features[:, : len(rows)],
                classifier,
                texts.take(rows),
                device=device,
                precision=precision,
                on_event=count,
            )

        read(sample, 0)
        ranked = _rank_depths(
            features, label_ids[sample], copy_of[sample], num_labels, seed, on_event
        )
        chosen = ranked[:num_depths]
        states = scratch_array(folder / "states", (len(chosen), num_texts, features.shape[2]))
        others = np.setdiff1d(np.arange(num_texts), sample)
        for start in range(-len(sample), len(others), len(sample)):
            rows = sample
            if start >= 0:
                rows = others[start : start + len(sample)]
                read(rows, len(sample) + start)
            for place, (depth, _) in enumerate(chosen):
                states[place, rows] = features[depth - 1, : len(rows)]
        inside = leave_out_folds(label_ids, seed, copy_of)[:-1]
        targets = torch.from_numpy(label_ids.astype(np.int64))
        probs = torch.zeros((num_texts, num_labels), dtype=torch.float64)
        for place, (_, penalty) in enumerate(chosen):
            logits = _held_out_logits(
                torch.from_numpy(states[place]), targets, inside, num_labels, penalty
            )
            probs += logits.double().softmax(dim=1) / len(chosen)
    return OutOfFold(probs.numpy(), tuple(depth for depth, _ in chosen))


def _rank_depths(
    features: NDArray[np.float32],
    label_ids: LabelIds,
    copy_of: NDArray[np.int64],
    num_labels: int,
    seed: int,
    on_event: EventCallback,
) -> list[tuple[int, float]]:
    """Return all depths, the least cross-validated loss first, each with its best penalty.

    The loss, not the accuracy: the probabilities are what is wanted, and the penalty of the least
    loss leaves them calibrated. A temperature fitted to them was 0.91 to 1.03 on four data sets,
    and changed no list's precision by more than a point.
    """
    inside = leave_out_folds(label_ids, seed, copy_of)
    targets = torch.from_numpy(label_ids.astype(np.int64))
    found = []
    for depth, states in enumerate(features, start=1):
        _, logits = cross_validated(torch.from_numpy(states), targets, inside, num_labels)
        losses = [float(torch.nn.functional.cross_entropy(each, targets)) for each in logits]
        best = int(np.argmin(losses))
        found.append((losses[best], depth, C_VALUES[best]))
        on_event(Progress("probe", depth, len(features), "blocks"))
    return [(depth, penalty) for _, depth, penalty in sorted(found)]


def _held_out_logits(
    states: Tensor, targets: Tensor, inside: Tensor, num_labels: int, penalty: float
) -> Tensor:
    """Return logits (N, C) of each text, by the head that was fitted without its fold.

    Args:
        states: (N, H).
        targets: (N,) int64.
        inside: (folds, N) bool.
        num_labels: C.
        penalty: inverse strength.
    """
    scaled = states / state_scale(states)
    logits = torch.empty((len(states), num_labels))
    at_once = max(1, _MOST_LOGITS // (len(states) * num_labels))
    for problems in inside.split(at_once):
        (heads,) = fit_heads(scaled, targets, problems, num_labels, (penalty,))
        for kept, head in zip(problems, heads, strict=True):
            logits[~kept] = scaled[~kept] @ head.T
    return logits
