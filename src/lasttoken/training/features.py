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
from lasttoken.model.batch import Batch, pack_texts, to_device
from lasttoken.model.blocks import find_blocks
from lasttoken.model.classifier import Classifier, last_tokens
from lasttoken.model.device import Precision, autocast
from lasttoken.model.frozen import apply_tail, block_outputs
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.model.windows import average_windows

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
            at = _last_places(classifier, batch)
            states: list[Tensor] = []

            def take(
                _number: int,
                output: Tensor,
                at: tuple[Tensor, Tensor] = at,
                states: list[Tensor] = states,
            ) -> None:
                states.append(output[at])  # (S, H), of every window

            with block_outputs(classifier, take):
                last = classifier.pool_last_token(**to_device(batch.to_inputs(), device))
            if states:
                earlier = apply_tail(classifier, torch.cat(states)).unflatten(0, (-1, len(at[0])))
                if batch.owner is not None:
                    earlier = average_windows(earlier.transpose(0, 1), batch.owner).transpose(0, 1)
                features[:-1, indices] = earlier.float().cpu().numpy()
            features[-1, indices] = last.float().cpu().numpy()  # after the final norm already
            done += len(last)
            on_event(Progress("features", done, len(texts), "texts"))


def packed_batches(
    texts: TokenizedTexts, max_tokens_per_batch: int = MAX_TOKENS_PER_BATCH
) -> Iterator[tuple[NDArray[np.int64], Batch]]:
    """Yield all texts in packed batches of similar lengths, each with its texts' indices (B,)."""
    for indices in budget_batches(texts.work, max_tokens_per_batch):
        token_ids = [texts[index] for index in indices.tolist()]
        yield indices, pack_texts(token_ids, texts.reading)


def _last_places(classifier: Classifier, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return where the last tokens stand in a block's output: row and place, (S,) each."""
    num_prompts = 0 if batch.continues is None else 1
    places = last_tokens(batch.cu_seqlens)[num_prompts:]
    if classifier.proof.path == "padded":
        positions = batch.position_ids[0, places]  # those of the whole sequence, prompt included
        return torch.arange(len(places)), positions
    return torch.zeros_like(places), places
