"""Features: each text's last-token state behind every block, from one pass.

block 1 -> state -> final norm        what the head of a model of depth 1 would read
block 2 -> state -> final norm        ... of depth 2
...
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lasttoken.events import EventCallback, Progress, ignore
from lasttoken.inference.prediction import MAX_TOKENS_PER_BATCH, budget_batches
from lasttoken.model.batch import Batch, pack_examples, to_device
from lasttoken.model.blocks import find_blocks
from lasttoken.model.classifier import Classifier, last_tokens
from lasttoken.model.device import Precision, autocast
from lasttoken.model.frozen import apply_tail, block_outputs
from lasttoken.model.tokens import TokenizedTexts

# Fewer than in prediction, because the states of all blocks are held together.
_MAX_TOKENS_PER_BATCH = 2_048


def features_shape(classifier: Classifier, num_texts: int) -> tuple[int, int, int]:
    """Return (n, N, H): blocks, texts, and what the head reads of each."""
    head: Any = classifier.hf_model.score
    return len(find_blocks(classifier.hf_model)), num_texts, int(head.in_features)


def fill_features(
    features: NDArray[np.float32],
    classifier: Classifier,
    texts: TokenizedTexts,
    *,
    device: torch.device,
    precision: Precision,
    on_event: EventCallback = ignore,
) -> None:
    """Write the last-token states behind every block, each after the final norm.

    Args:
        features: (n, N, H), written in place; rows in the order of `texts`.
        classifier: on `device`; left in evaluation mode.
        texts: N texts.
        device: where the classifier is.
        precision: of the pass.
        on_event: hears `Progress("features", ...)`.
    """
    done = 0
    classifier.eval()
    with torch.inference_mode(), autocast(device, precision):
        for indices, batch in packed_batches(texts, _MAX_TOKENS_PER_BATCH):
            at = _last_places(classifier, batch, texts.lengths[indices])
            states: list[Tensor] = []

            def take(
                _number: int,
                output: Tensor,
                at: tuple[Tensor, Tensor] = at,
                states: list[Tensor] = states,
            ) -> None:
                states.append(output[at])  # (B, H)

            with block_outputs(classifier, take):
                last = classifier.pool_last_token(**to_device(batch.to_inputs(), device))
            if states:
                earlier = apply_tail(classifier, torch.cat(states)).unflatten(0, (-1, len(last)))
                features[:-1, indices] = earlier.float().cpu().numpy()
            features[-1, indices] = last.float().cpu().numpy()  # after the final norm already
            done += len(last)
            on_event(Progress("features", done, len(texts), "texts"))


def packed_batches(
    texts: TokenizedTexts, max_tokens_per_batch: int = MAX_TOKENS_PER_BATCH
) -> Iterator[tuple[NDArray[np.int64], Batch]]:
    """Yield all texts in packed batches of similar lengths, each with its texts' indices (B,)."""
    sizes = np.maximum(texts.lengths - len(texts.prompt), 1)  # the prompt is shared
    for indices in budget_batches(sizes, max_tokens_per_batch):
        token_ids = [texts[index] for index in indices.tolist()]
        yield indices, pack_examples(token_ids, owner=indices, prompt=texts.prompt)


def take_texts(texts: TokenizedTexts, indices: NDArray[np.int64]) -> TokenizedTexts:
    """Return some of the texts, in the order of `indices`."""
    parts = [texts[index] for index in indices.tolist()]
    offsets = np.concatenate([[0], np.cumsum(texts.lengths[indices])])
    flat = np.concatenate([np.zeros(0, dtype=np.int32), *parts])
    return TokenizedTexts(flat, offsets, texts.num_tokens[indices], texts.max_length, texts.prompt)


def _last_places(
    classifier: Classifier, batch: Batch, lengths: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Return where the last tokens stand in a block's output: row and place, (B,) each."""
    if classifier.proof.path == "padded":
        return torch.arange(len(lengths)), torch.from_numpy(lengths - 1)
    num_prompts = 0 if batch.continues is None else 1
    places = last_tokens(batch.cu_seqlens)[num_prompts:]
    return torch.zeros_like(places), places
