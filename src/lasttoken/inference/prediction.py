"""One gradient-free pass over texts: order by length, run, restore order.

Sorted neighbors share a length, so batches under a token budget are even in cost; what a text
gets does not depend on them (see `model.attention`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lasttoken.events import EventCallback, Progress, ignore
from lasttoken.model.batch import Batch, pack_examples, to_device
from lasttoken.model.classifier import Classifier
from lasttoken.model.device import Precision, autocast, keep_freed_memory
from lasttoken.model.tokens import TokenizedTexts

# Enough rows to fill the matrix kernels of a CPU, few enough that activations stay in memory.
MAX_TOKENS_PER_BATCH = 4_096


def budget_batches(
    lengths: Sequence[int] | NDArray[np.int64], max_tokens_per_batch: int = MAX_TOKENS_PER_BATCH
) -> list[NDArray[np.int64]]:
    """Share out texts, longest first, into batches of at most `max_tokens_per_batch` tokens.

    Args:
        lengths: (N,) tokens of each text.
        max_tokens_per_batch: a longer text rides alone.

    Returns:
        Arrays of indices; every index stands in exactly one of them.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches: list[list[int]] = []
    room = 0
    for index in order.tolist():
        length = int(lengths[index])
        if not batches or length > room:
            batches.append([])
            room = max_tokens_per_batch
        batches[-1].append(index)
        room -= length
    return [np.array(batch, dtype=np.int64) for batch in batches]


def packed_batches(
    texts: TokenizedTexts, max_tokens_per_batch: int = MAX_TOKENS_PER_BATCH
) -> Iterator[Batch]:
    """Pack texts into batches whose `owner` says where each result belongs."""
    for indices in budget_batches(texts.lengths, max_tokens_per_batch):
        yield pack_examples([texts[index] for index in indices.tolist()], owner=indices)


def predict_logits(
    classifier: Classifier,
    texts: TokenizedTexts,
    *,
    device: torch.device,
    precision: Precision,
    max_tokens_per_batch: int = MAX_TOKENS_PER_BATCH,
    phase: str = "predict",
    on_event: EventCallback = ignore,
) -> NDArray[np.float32]:
    """Return logits (N, C) float32, rows in the order of `texts`.

    The classifier is left on `device`, in evaluation mode.
    """
    logits = np.zeros((len(texts), classifier.labels.num_logits), dtype=np.float32)
    classifier.to(device).eval()
    keep_freed_memory()
    done = 0
    with torch.inference_mode(), autocast(device, precision):
        for batch in packed_batches(texts, max_tokens_per_batch):
            output = classifier(**to_device(batch.to_inputs(), device))
            logits[batch.owner.numpy()] = output.logits.cpu().numpy()
            done += len(batch.owner)
            on_event(Progress(phase, done, len(texts), "texts"))
    return logits
