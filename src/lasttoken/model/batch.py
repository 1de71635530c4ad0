"""Batches: texts laid end to end (packed), or padded on the left as in the tutorial.

    texts          a b c | d e
    packed         input_ids      a b c d e        position_ids   0 1 2 0 1
                   cu_seqlens     0     3   5
    padded left    input_ids      a b c            position_ids   0 1 2
                                  * d e                           0 0 1

Positions and the last token come from lengths, never from token ids, so a text may hold the
padding token, end in it, or consist of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lasttoken.data.labels import LabelSpec, encode_labels
from lasttoken.errors import BatchError
from lasttoken.model.packing import packed_width
from lasttoken.model.reading import Reading
from lasttoken.model.tokens import tokenize
from lasttoken.model.windows import divide

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Layout = Literal["packed", "left"]

FILLER_TOKEN = 0  # behind the last text of a packed row, read by nobody


@dataclass(frozen=True)
class Batch:
    """What one forward pass sees: S sequences of T tokens in all, packed; texts, or their windows.

    Attributes:
        input_ids: (1, W) int64, W = T made even and at least 16 by filler tokens; of one sequence
            alone, a multiple of 16.
        position_ids: (1, W) int64, tokens since the start of the sequence.
        cu_seqlens: (S + 1,) int32 offsets, first 0 and last T.
        targets: as `LabelSpec.encode` gives them, (B,) or (B, C), or None.
        continues: None; or (1 + S,) bool, when the first sequence is a prompt and no example: which
            sequences continue it (their positions do too), so that it is computed once for all.
        owner: None where every sequence is an example; or (S,) int64 from 0 to B - 1, in this
            order, the example that each one is a window of.
    """

    input_ids: Tensor
    position_ids: Tensor
    cu_seqlens: Tensor
    targets: Tensor | None
    continues: Tensor | None = None
    owner: Tensor | None = None

    def to_inputs(self) -> dict[str, Tensor]:
        """Return the keyword arguments of the model's `forward`."""
        inputs = {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "cu_seqlens": self.cu_seqlens,
        }
        optional = {"continues": self.continues, "owner": self.owner, "labels": self.targets}
        return {**inputs, **{name: t for name, t in optional.items() if t is not None}}


def pack_examples(
    token_ids: Sequence[NDArray[np.int32]],
    *,
    targets: Tensor | None = None,
    prompt: NDArray[np.int32] | None = None,
    window_length: int | None = None,
) -> Batch:
    """Lay B token sequences end to end in one row, with no padding between them.

    Args:
        token_ids: B arrays (L,), each with at least one token.
        targets: see `Batch.targets`.
        prompt: (P,) tokens with which many sequences start. They stand once in the batch, in front,
            and sequences that are longer and start with them continue them; None or P = 0: none do.
        window_length: a longer sequence is windows of so many tokens, end to end; None: none is.

    Raises:
        BatchError: there is no sequence, or one has no token.

    Source:
        Krell et al., "Efficient Sequence Packing without Cross-contamination" (arXiv 2107.02027):
        neither attention nor positions may cross from one sequence to the next. The offsets
        follow the variable-length attention interfaces. For the shared prompt: "Prefix Grouper"
        (arXiv 2506.05433).
    """
    _checked_lengths(token_ids)
    token_ids, owner = divide(token_ids, window_length)
    rows, skipped, continues = list(token_ids), np.zeros(len(token_ids), dtype=np.int64), None
    if prompt is not None and len(prompt):
        shares = [len(ids) > len(prompt) and np.array_equal(ids[: len(prompt)], prompt)
                  for ids in token_ids]  # fmt: skip
        starts_at = np.where(shares, len(prompt), 0)
        rows = [prompt, *(ids[start:] for ids, start in zip(token_ids, starts_at, strict=True))]
        skipped = np.append(0, starts_at)
        continues = torch.from_numpy(skipped > 0)
    seqlens = np.array([len(ids) for ids in rows], dtype=np.int64)
    cu_seqlens = np.concatenate([[0], np.cumsum(seqlens)])
    num_tokens = int(cu_seqlens[-1])
    width = packed_width(num_tokens, len(rows))
    input_ids = np.full((1, width), FILLER_TOKEN, dtype=np.int64)
    input_ids[0, :num_tokens] = np.concatenate(rows)
    # Where each sequence's position 0 would lie; the filler counts as one more sequence.
    zeros = np.append(cu_seqlens[:-1] - skipped, num_tokens)
    position_ids = np.arange(width) - np.repeat(zeros, np.append(seqlens, width - num_tokens))
    return Batch(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids[None, :]),
        cu_seqlens=torch.from_numpy(cu_seqlens.astype(np.int32)),
        targets=targets,
        continues=continues,
        owner=owner,
    )


def pack_texts(
    token_ids: Sequence[NDArray[np.int32]], reading: Reading, *, targets: Tensor | None = None
) -> Batch:
    """Lay B tokenized texts, or all their windows, end to end; the template is shared."""
    prompt, window_length = reading.prompt, reading.window_length
    return pack_examples(token_ids, targets=targets, prompt=prompt, window_length=window_length)


def pad_left(
    token_ids: Sequence[NDArray[np.int32]], *, pad_token_id: int, targets: Tensor | None = None
) -> dict[str, Tensor]:
    """Lay B token sequences in rows, padded on the left: the tutorial's form.

    Returns:
        `input_ids`, `attention_mask`, `position_ids` (B, L) int64, and `labels` (B,) if given.
        Positions count real tokens only; a padding token has position 0.

    Raises:
        BatchError: there is no sequence, or one has no token.

    Relations:
        `pack_examples` gives the same sequences without padding, and is faster.
    """
    seqlens = _checked_lengths(token_ids)
    longest = int(seqlens.max())
    input_ids = np.full((len(seqlens), longest), pad_token_id, dtype=np.int64)
    for row, ids in zip(input_ids, token_ids, strict=True):
        row[longest - len(ids) :] = ids
    steps = np.arange(longest)[None, :] - (longest - seqlens)[:, None]  # (B, L), below 0 = padding
    inputs = {
        "input_ids": torch.from_numpy(input_ids),
        "attention_mask": torch.from_numpy((steps >= 0).astype(np.int64)),
        "position_ids": torch.from_numpy(np.maximum(steps, 0)),
    }
    return inputs if targets is None else {**inputs, "labels": targets}


_READ_BY_HOST = ("cu_seqlens", "continues", "owner")


def to_device(inputs: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Move a batch, but for what the host reads to plan attention."""
    return {
        name: tensor if name in _READ_BY_HOST else tensor.to(device, non_blocking=True)
        for name, tensor in inputs.items()
    }


def unpad(input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turn padded rows into a packed batch, wherever the padding stands.

    Args:
        input_ids: (B, L) int64.
        attention_mask: (B, L), 1 at real tokens, which are contiguous in each row.

    Returns:
        `input_ids` (1, W), `position_ids` (1, W) and `cu_seqlens` (B + 1,), as in
        `Batch`, on the device of `input_ids`.

    Raises:
        BatchError: a row has no token.
    """
    mask = attention_mask.bool()
    rows = [ids[keep].cpu().numpy() for ids, keep in zip(input_ids, mask, strict=True)]
    batch = pack_examples(rows)
    device = input_ids.device
    return batch.input_ids.to(device), batch.position_ids.to(device), batch.cu_seqlens


class Gpt2ClassificationCollator:
    """Turn a list of examples into a mapping ready for `model(**inputs)`.

    The tutorial's collator; `fit` uses it with `layout="packed"`. With `layout="left"` its
    result also fits a stock `GPT2ForSequenceClassification`, which reads it correctly because
    positions are given.

    Args:
        tokenizer: with an end-of-text token; padding uses its pad token, else end-of-text.
        label_encoder: label to label id, such as `{"neg": 0, "pos": 1}`, or a `LabelSpec`.
        max_length: cut texts at this many tokens; None is the tokenizer's own limit.
        layout: "packed" or "left".
        reading: how texts become tokens, in place of `max_length`.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        label_encoder: Mapping[str, int] | LabelSpec,
        max_length: int | None = None,
        layout: Layout = "packed",
        reading: Reading | None = None,
    ) -> None:
        layouts: dict[str, Callable[[list[NDArray[np.int32]], Tensor | None], dict[str, Tensor]]]
        layouts = {"packed": self._pack, "left": self._pad}
        if layout not in layouts:
            raise BatchError(
                f"layout {layout!r} is unknown",
                expected='"packed" or "left"',
                remedy='Gpt2ClassificationCollator(..., layout="packed")',
            )
        self._tokenizer = tokenizer
        self._encode: Callable[[list[str]], Tensor] = (
            label_encoder.encode
            if isinstance(label_encoder, LabelSpec)
            else partial(encode_labels, label2id=label_encoder)
        )
        limit = tokenizer.model_max_length if max_length is None else max_length
        self._reading = Reading(limit) if reading is None else reading
        self._arrange = layouts[layout]

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Collate B examples.

        Args:
            examples: mappings with "text" (str; and "text_pair" in all or none) or "input_ids" (as
                tokenized, (L,) int32), and with "label" (str) in all of them or in none.

        Returns:
            The layout's tensors on the CPU (see `Batch`, `pad_left`), with `labels` as
            `LabelSpec.encode` gives them if the examples have labels.

        Raises:
            BatchError: there are no examples, or only some have a label.
            DatasetError: a label is not in the label encoder.
        """
        if not examples:
            raise BatchError(
                "a batch of no examples",
                expected="at least one example",
                remedy="leave empty batches out",
            )
        labels = [example["label"] for example in examples if example.get("label") is not None]
        if labels and len(labels) != len(examples):
            raise BatchError(
                f"{len(labels)} of {len(examples)} examples of a batch have a label",
                expected="a label in every example of a batch, or in none",
                remedy="split labeled and unlabeled examples",
            )
        targets = self._encode(labels) if labels else None
        return self._arrange(self._token_ids(examples), targets)

    def _token_ids(self, examples: Sequence[Mapping[str, Any]]) -> list[NDArray[np.int32]]:
        if "input_ids" in examples[0]:
            return [example["input_ids"] for example in examples]
        texts = [example["text"] for example in examples]
        pairs = [example["text_pair"] for example in examples if "text_pair" in example] or None
        tokenized = tokenize(self._tokenizer, texts, self._reading, pairs=pairs)
        return [tokenized[index] for index in range(len(texts))]

    def _pack(
        self, token_ids: list[NDArray[np.int32]], targets: Tensor | None
    ) -> dict[str, Tensor]:
        return pack_texts(token_ids, self._reading, targets=targets).to_inputs()

    def _pad(self, token_ids: list[NDArray[np.int32]], targets: Tensor | None) -> dict[str, Tensor]:
        pad = self._tokenizer.pad_token_id
        pad_token_id = self._tokenizer.eos_token_id if pad is None else pad
        windows, owner = divide(token_ids, self._reading.window_length)
        inputs = pad_left(windows, pad_token_id=int(pad_token_id), targets=targets)
        return inputs if owner is None else {**inputs, "owner": owner}


def _checked_lengths(token_ids: Sequence[NDArray[np.int32]]) -> NDArray[np.int64]:
    """Return the lengths (B,), all at least 1."""
    seqlens = np.array([len(ids) for ids in token_ids], dtype=np.int64)
    if len(seqlens) == 0 or seqlens.min() == 0:
        raise BatchError(
            "a batch with a sequence of no tokens" if len(seqlens) else "a batch of no sequences",
            expected="at least one token in every sequence (an empty text is one end-of-text)",
            remedy="tokenize texts with lasttoken's `tokenize`",
        )
    return seqlens
