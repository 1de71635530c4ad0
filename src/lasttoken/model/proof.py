"""The proof at load: may this model be read packed, or padded, or not at all?

A family is believed only after it has answered for itself on two short texts: packed, padded and
alone must agree, attention must have been called once a block with nothing it does not know, and
a later token must not change an earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from lasttoken.errors import BackboneError
from lasttoken.model import attention, gpt2
from lasttoken.model.batch import pack_examples
from lasttoken.model.blocks import find_blocks
from lasttoken.model.inspection import not_a_decoder
from lasttoken.model.last_block import LastBlock
from lasttoken.model.packing import Packing

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ReadingPath = Literal["packed", "padded"]

# Relative to the largest hidden state; fp32 rounding is below 1e-5, a leak is far above.
TOLERANCE = 1e-4
_LENGTHS = (9, 21)  # different buckets, and a filler in each


@dataclass(frozen=True)
class Proof:
    """How a model is read, and why not packed if it is not.

    Attributes:
        path: "packed", or "padded" (on the right) where packing is not faithful.
        reason: why packing was refused; empty if packed.
        whole_block_reason: why the last block is computed for every token of a packed batch; empty
            where it is computed for the tokens that are read (`last_block`).
        long_blocks_reason: why GPT-2's blocks are not computed in fewer calls (`gpt2`); empty where
            they are, and for other families.
    """

    path: ReadingPath
    reason: str = ""
    whole_block_reason: str = ""
    long_blocks_reason: str = ""


def choose_path(model: PreTrainedModel) -> Proof:
    """Set the model's attention to packed if it passes the proof, else leave it "eager".

    A packed model's last block is computed for the tokens that are read if that is proved too.

    Raises:
        BackboneError: the model is no decoder, or right padding changes what it computes.
    """
    gpt2.remove(model)  # a model that was cut is proved anew
    texts = [_probe_ids(model, length) for length in _LENGTHS]
    with torch.no_grad():
        alone = [_alone(model, ids) for ids in texts]
        _refuse_future(model, texts[1], alone[1])
        reason = _why_not_packed(model, texts, alone)
        if not reason:
            long_blocks_reason = _shorten_blocks(model, texts, alone)
            whole_block_reason = _shorten_last_block(model, texts, alone)
            return Proof("packed", "", whole_block_reason, long_blocks_reason)
        model.set_attn_implementation("eager")
        _refuse_padding_dependence(model, texts, alone)
    return Proof("padded", reason)


def _probe_ids(model: PreTrainedModel, length: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return token ids that differ from each other and spread over the vocabulary."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    return ((7 + np.arange(length) * 13 + length) % vocabulary).astype(np.int32)


def _alone(model: PreTrainedModel, ids: np.ndarray[Any, Any]) -> Tensor:
    """Return hidden states (L, H) of one text, by the family's own eager attention."""
    input_ids = torch.from_numpy(ids.astype(np.int64))[None, :]
    output = model.base_model(
        input_ids=input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False
    )
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def _differs(found: Tensor, expected: Tensor) -> bool:
    largest = max(1.0, float(expected.abs().max()))
    return not bool((found - expected).abs().max() <= TOLERANCE * largest)  # NaN differs


def _refuse_future(model: PreTrainedModel, ids: np.ndarray[Any, Any], whole: Tensor) -> None:
    if _differs(_alone(model, ids[:-1]), whole[:-1]):
        raise not_a_decoder(
            str(model.config.name_or_path), "a later token changes what an earlier one holds"
        )


def _why_not_packed(
    model: PreTrainedModel, texts: list[np.ndarray[Any, Any]], alone: list[Tensor]
) -> str:
    windows: list[bool] = []  # of every call: was a window handed on?

    def witness(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - passes everything on
        windows.append(kwargs.get("sliding_window") is not None)
        return attention.packed_attention(*args, **kwargs)

    # A name of its own for every probe: other models go on using the packed attention meanwhile.
    witness_name = f"{attention.PACKED_ATTENTION}_probe_{id(windows)}"
    attention.register(witness_name, witness)
    try:
        model.set_attn_implementation(witness_name)
        packed = _packed(model, texts)
    except Exception as error:  # any failure of a family's own code is the answer, and recorded
        return _name(error)
    num_blocks = int(model.config.get_text_config().num_hidden_layers)
    if len(windows) != num_blocks:
        return f"attention was called {len(windows)} times in {num_blocks} blocks"
    if sum(windows) != _num_windowed_blocks(model):
        return (
            f"{_num_windowed_blocks(model)} blocks have a window by config.json, "
            f"{sum(windows)} hand one on to attention"
        )
    if any(_differs(*pair) for pair in zip(packed, alone, strict=True)):
        return "a packed text differs from the same text alone"
    model.set_attn_implementation(attention.PACKED_ATTENTION)
    return ""


def _shorten_blocks(
    model: PreTrainedModel, texts: list[np.ndarray[Any, Any]], alone: list[Tensor]
) -> str:
    """Compute GPT-2's blocks in fewer calls, or return why not."""
    if not gpt2.install(model):
        return ""
    try:
        packed = _packed(model, texts)
        differs = any(_differs(*pair) for pair in zip(packed, alone, strict=True))
        reason = "they differ from the family's own" if differs else ""
    except Exception as error:  # another version of the family's code is the answer, and recorded
        reason = _name(error)
    if reason:
        gpt2.remove(model)
    return reason


def _shorten_last_block(
    model: PreTrainedModel, texts: list[np.ndarray[Any, Any]], alone: list[Tensor]
) -> str:
    """Compute the last block for the tokens that are read, or return why not."""
    try:
        last_block = LastBlock(find_blocks(model)[-1])
    except BackboneError as error:
        return error.found
    last_block.install()
    try:
        packed = _packed(model, texts, only_last=True)
        differs = any(_differs(p[-1], a[-1]) for p, a in zip(packed, alone, strict=True))
        reason = "it differs from the whole block" if differs else ""
    except Exception as error:  # any failure of a family's own code is the answer, and recorded
        reason = _name(error)
    if reason:
        last_block.remove()
    return reason


def _packed(
    model: PreTrainedModel, texts: list[np.ndarray[Any, Any]], *, only_last: bool = False
) -> list[Tensor]:
    """Return hidden states (L, H) of each text, packed together."""
    batch = pack_examples(texts)
    ends = batch.cu_seqlens.to(torch.int64)
    packing = Packing.from_cu_seqlens(
        batch.cu_seqlens,
        batch.input_ids.shape[1],
        batch.input_ids.device,
        read=ends[1:] - 1 if only_last else None,
    )
    hidden = model.base_model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=torch.ones_like(batch.input_ids),
        use_cache=False,
        packing=packing,
    ).last_hidden_state[0]
    return [hidden[start:end] for start, end in pairwise(ends.tolist())]


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _num_windowed_blocks(model: PreTrainedModel) -> int:
    """Return how many blocks see a limited stretch of text: short probes would not show it."""
    config: Any = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return sum(kind != "full_attention" for kind in kinds)
    window = getattr(config, "sliding_window", None)
    has_window = window is not None and getattr(config, "use_sliding_window", True)
    chunked = getattr(config, "attention_chunk_size", None) is not None
    return int(config.num_hidden_layers) if has_window or chunked else 0


def _refuse_padding_dependence(
    model: PreTrainedModel, texts: list[np.ndarray[Any, Any]], alone: list[Tensor]
) -> None:
    """Check that tokens on the right of a text change nothing, as a causal model promises."""
    longest = max(len(ids) for ids in texts)
    input_ids = torch.zeros((len(texts), longest), dtype=torch.int64)
    mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(texts):
        input_ids[row, : len(ids)] = torch.from_numpy(ids.astype(np.int64))
        mask[row, : len(ids)] = 1
    hidden = model.base_model(
        input_ids=input_ids, attention_mask=mask, use_cache=False
    ).last_hidden_state
    for row, expected in enumerate(alone):
        if _differs(hidden[row, : len(expected)], expected):
            raise not_a_decoder(
                str(model.config.name_or_path), "padding on the right changes its hidden states"
            )
