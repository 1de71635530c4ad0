"""One gradient-free pass over texts: order by length, run, restore order.

Sorted neighbors share a length, so batches under a token budget are even in cost; what a text
gets does not depend on them (see `model.attention`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lasttoken.events import EventCallback, Progress, ignore
from lasttoken.model.batch import pack_examples, pack_texts, to_device
from lasttoken.model.classifier import Classifier
from lasttoken.model.device import Precision, autocast, keep_freed_memory
from lasttoken.model.reading import Reading
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
    """Return logits (N, C) float32, rows in the order of `texts`; equal texts are computed once.

    The classifier is left on `device`, in evaluation mode.
    """
    first_of, same_as = first_equal_texts(texts)  # (U,), (N,)
    copies = np.bincount(same_as, minlength=len(first_of))
    logits = np.zeros((len(first_of), classifier.labels.num_logits), dtype=np.float32)
    make_ready(classifier, device)
    keep_freed_memory()
    reading, sizes = texts.reading, texts.work[first_of]
    done = 0
    with torch.inference_mode(), autocast(device, precision):
        for places in budget_batches(sizes, max_tokens_per_batch):
            token_ids = [texts[index] for index in first_of[places].tolist()]
            if sizes[places[0]] > max_tokens_per_batch and len(token_ids[0]) > reading.max_length:
                given = _many_windows(
                    classifier, token_ids[0], reading, device, max_tokens_per_batch
                )
            else:
                batch = pack_texts(token_ids, reading)
                given = classifier(**to_device(batch.to_inputs(), device)).logits
            logits[places] = given.cpu().numpy()
            done += int(copies[places].sum())
            on_event(Progress(phase, done, len(texts), "texts"))
    return logits[same_as]


def _many_windows(
    classifier: Classifier,
    token_ids: NDArray[np.int32],
    reading: Reading,
    device: torch.device,
    max_tokens_per_batch: int,
) -> Tensor:
    """Return logits (1, C) of one text of more windows than a batch holds: a few at a time."""
    at_once = max(1, max_tokens_per_batch // reading.max_length) * reading.max_length
    states = []
    for part in np.split(token_ids, range(at_once, len(token_ids), at_once)):
        windows = list(part.reshape(-1, reading.max_length))
        batch = pack_examples(windows, prompt=reading.prompt)
        states.append(classifier.pool_last_token(**to_device(batch.to_inputs(), device)))
    together = torch.cat(states)  # (S, H)
    return classifier.classify_windows(together, torch.zeros(len(together), dtype=torch.int64))


def make_ready(classifier: Classifier, device: torch.device) -> None:
    """Move a classifier to a device and set evaluation mode, if it is not so already.

    Both walk through every module, which takes a tenth of the time of one short text.
    """
    here = next(classifier.parameters()).device
    if here.type != device.type or device.index not in (None, here.index):
        classifier.to(device)
    if classifier.training:
        classifier.eval()


def first_equal_texts(texts: TokenizedTexts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the texts that are equal as the model reads them.

    Returns:
        (U,) int64, the first of each group of equal texts; (N,) int64, each text's group.
    """
    groups: dict[bytes, int] = {}
    same_as = [groups.setdefault(texts[i].tobytes(), len(groups)) for i in range(len(texts))]
    found = np.array(same_as, dtype=np.int64)
    return np.unique(found, return_index=True)[1].astype(np.int64), found
