"""Features: each text's last-token state behind every block, from one pass.

    block 1 -> state -> final norm        what the head of a model of depth 1 would read
    block 2 -> state -> final norm        ... of depth 2
    ...
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lasttoken.events import EventCallback, Progress, ignore
from lasttoken.inference.prediction import packed_batches
from lasttoken.model.batch import to_device
from lasttoken.model.blocks import find_blocks
from lasttoken.model.classifier import Classifier, last_tokens
from lasttoken.model.device import Precision, autocast
from lasttoken.model.frozen import apply_tail, block_outputs
from lasttoken.model.tokens import TokenizedTexts

# Fewer than in prediction, because the states of all blocks are held together.
_MAX_TOKENS_PER_BATCH = 2_048


def features_shape(classifier: Classifier, num_texts: int) -> tuple[int, int, int]:
    """Return (n, N, H): blocks, texts, and what the head reads of each."""
    head: torch.nn.Linear = classifier.hf_model.score
    return len(find_blocks(classifier.hf_model)), num_texts, head.in_features


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
        for batch in packed_batches(texts, _MAX_TOKENS_PER_BATCH):
            inputs = to_device(batch.to_inputs(), device)
            rows, places = _last_places(classifier, batch.cu_seqlens)
            states: list[Tensor] = []
            with block_outputs(
                classifier, lambda _, output, at=(rows, places), to=states: to.append(output[at])
            ):
                last = classifier.pool_last_token(**inputs)  # (B, H), after the final norm
            if states:
                earlier = apply_tail(classifier, torch.cat(states)).unflatten(0, (-1, len(last)))
                features[:-1, batch.owner.numpy()] = earlier.float().cpu().numpy()
            features[-1, batch.owner.numpy()] = last.float().cpu().numpy()
            done += len(last)
            on_event(Progress("features", done, len(texts), "texts"))


def take_texts(texts: TokenizedTexts, indices: NDArray[np.int64]) -> TokenizedTexts:
    """Return some of the texts, in the order of `indices`."""
    parts = [texts[index] for index in indices.tolist()]
    offsets = np.concatenate([[0], np.cumsum(texts.lengths[indices])])
    flat = np.concatenate([np.zeros(0, dtype=np.int32), *parts])
    return TokenizedTexts(flat, offsets, texts.num_tokens[indices], texts.max_length)


def _last_places(classifier: Classifier, cu_seqlens: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the last tokens stand in a block's output: row and place, (B,) each."""
    last = last_tokens(cu_seqlens)
    if classifier.proof.path == "packed":
        return torch.zeros_like(last), last
    return torch.arange(len(last)), last - cu_seqlens[:-1]
