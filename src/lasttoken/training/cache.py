"""What frozen blocks give, computed once: hidden states of all texts in one temporary file.

    texts        a b c | d e
    states       a b c   d e        (tokens, H) fp32, memory-mapped, read again every epoch
    offsets      0       3   5

The file lies in the folder for temporary files (`TMPDIR`) and is gone at the end, failed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lasttoken.events import EventCallback, Note, Progress, ignore
from lasttoken.inference.prediction import budget_batches
from lasttoken.model.batch import to_device
from lasttoken.model.blocks import find_blocks
from lasttoken.model.classifier import Classifier
from lasttoken.model.device import Precision, autocast
from lasttoken.model.frozen import frozen_blocks_answered, frozen_but_last, output_of_block
from lasttoken.training.features import packed_batches
from lasttoken.training.preparation import PreparedTraining
from lasttoken.training.sampler import TokenizedExamples
from lasttoken.training.scratch import scratch_array, scratch_folder

# How far stored states may lead astray, relative to the pooled states: rounding is well below, and
# states of other texts are at about 1. In bf16 the rounding of a row depends on its batch.
_TOLERANCES: dict[Precision, float] = {"fp32": 1e-4, "bf16": 0.1}

Collate = Callable[[Sequence[Mapping[str, Any]]], dict[str, Tensor]]


class CachedExamples(TokenizedExamples):
    """Tokenized examples, each with the hidden states that the frozen blocks gave for it.

    Args:
        examples: N of them.
        states: (sum of lengths, H) fp32, texts end to end as in `examples.texts`.
    """

    def __init__(self, examples: TokenizedExamples, states: NDArray[np.float32]) -> None:
        super().__init__(examples.texts, examples.labels)
        self._states = states

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return what `TokenizedExamples` gives, and `"hidden_states": (L, H) fp32`."""
        offsets = self.texts.offsets
        states = self._states[offsets[index] : offsets[index + 1]]
        return {**super().__getitem__(index), "hidden_states": states}


class CachedCollator:
    """Lay the examples' hidden states end to end beside their token ids.

    Args:
        collate: makes the packed batch.
    """

    def __init__(self, collate: Collate) -> None:
        self._collate = collate

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return the packed batch with `hidden_states` (1, W, H); the filler's are 0."""
        inputs = self._collate(examples)
        rows = [example["hidden_states"] for example in examples]
        if "owner" in inputs:  # several windows, end to end
            num_windows = inputs["owner"].bincount().tolist()
            rows = [part for row, num in zip(rows, num_windows, strict=True)
                    for part in np.split(row, num)]  # fmt: skip
        ends, shares = inputs["cu_seqlens"].tolist(), inputs.get("continues")
        if shares is not None:  # a prompt stands in front, once for all that continue it
            shared = ends[1]
            first = next((row for row, is_shared in zip(rows, shares[1:], strict=True)
                          if is_shared), None)  # fmt: skip
            prompt = np.zeros_like(rows[0], shape=(shared, rows[0].shape[1]))  # read by nobody
            rows = [
                prompt if first is None else first[:shared],
                *(row[shared if is_shared else 0 :]
                  for row, is_shared in zip(rows, shares[1:], strict=True)),
            ]  # fmt: skip
        width = inputs["input_ids"].shape[1]
        states = np.zeros((1, width, rows[0].shape[1]), dtype=np.float32)
        np.concatenate(rows, out=states[0, : ends[-1]])
        return {**inputs, "hidden_states": torch.from_numpy(states)}


def cache_hidden_states(
    classifier: Classifier,
    examples: TokenizedExamples,
    num_frozen: int,
    path: Path,
    *,
    device: torch.device,
    precision: Precision,
    on_event: EventCallback = ignore,
) -> CachedExamples:
    """Run every text through the frozen blocks once, and keep what comes out.

    Args:
        classifier: reads packed; left in evaluation mode.
        examples: N of them.
        num_frozen: blocks to run, at least 1.
        path: of the new file, in a `scratch_folder`.
        device: where `classifier` is.
        precision: of training; other states would not be what training computes.
        on_event: hears `Progress("cache", ...)`.

    Raises:
        ConfigError: the states do not fit on the disk.
    """
    texts = examples.texts
    states: NDArray[np.float32] | None = None
    done = 0
    classifier.eval()
    with torch.inference_mode(), autocast(device, precision):
        for indices, batch in packed_batches(texts):
            inputs = to_device(batch.to_inputs(), device)
            given = output_of_block(classifier, num_frozen, inputs)[0].float().cpu().numpy()
            if states is None:
                states = scratch_array(path, (int(texts.offsets[-1]), given.shape[1]))
            ends = batch.cu_seqlens.tolist()
            first = 0 if batch.continues is None else 1  # the prompt is no example
            stretches = [
                stretch for index in indices.tolist() for stretch in texts.stretches(index)
            ]
            for place, (start, stop) in enumerate(stretches, start=first):
                text = given[ends[place] : ends[place + 1]]  # (L, H), or behind the prompt
                states[stop - len(text) : stop] = text
                states[start : stop - len(text)] = given[: stop - len(text) - start]
            done += len(indices)
            on_event(Progress("cache", done, len(texts), "texts"))
    assert states is not None, "there are examples"
    return CachedExamples(examples, states)


@dataclass(frozen=True)
class TrainingInputs:
    """What the loop over epochs reads.

    Attributes:
        training: examples to learn from.
        validating: examples that choose the epoch to keep.
        collate: makes a batch of either.
    """

    training: TokenizedExamples
    validating: TokenizedExamples
    collate: Collate


@contextmanager
def frozen_inputs(
    prepared: PreparedTraining, collate: Collate, on_event: EventCallback
) -> Iterator[TrainingInputs]:
    """Freeze what shall not learn, and compute once what the frozen blocks give.

    Args:
        prepared: its classifier, on the device, learns in full again at the end.
        collate: of packed batches.
        on_event: hears progress and why frozen blocks run in every epoch, if they do.
    """
    settings, classifier = prepared.settings, prepared.loaded.classifier
    inputs = TrainingInputs(prepared.training, prepared.validating, collate)
    num_trained = settings.learns.num_blocks
    if num_trained is None:
        yield inputs
        return
    num_frozen = len(find_blocks(classifier.hf_model)) - num_trained
    with ExitStack() as stack:
        stack.enter_context(frozen_but_last(classifier, num_trained))
        if num_frozen and classifier.proof.path == "packed":
            stack.enter_context(frozen_blocks_answered(classifier, num_frozen))
            folder = stack.enter_context(scratch_folder())
            training, validating = (
                cache_hidden_states(
                    classifier,
                    examples,
                    num_frozen,
                    folder / name,
                    device=settings.device,
                    precision=settings.precision,
                    on_event=on_event,
                )
                for name, examples in (
                    ("training", prepared.training),
                    ("validation", prepared.validating),
                )
            )
            cached = TrainingInputs(training, validating, CachedCollator(collate))
            if _is_exact(cached, prepared):
                inputs = cached
            else:
                reason = "their stored output does not lead to the same states"
                on_event(Note(f"frozen blocks run in every epoch: {reason}", is_warning=True))
        elif num_frozen:
            on_event(Note("frozen blocks run in every epoch: this model is read padded"))
        yield inputs


def pooled_states(
    inputs: TrainingInputs,
    indices: NDArray[np.int64],
    prepared: PreparedTraining,
    on_event: EventCallback = ignore,
) -> NDArray[np.float32]:
    """Return the states that the head reads of some training examples, as the model is now.

    Args:
        inputs: of training; cached states are used if there are any.
        indices: (M,) of the examples.
        prepared: its classifier is left in evaluation mode.
        on_event: hears `Progress("head", ...)`.

    Returns:
        (M, H) in the order of `indices`.
    """
    settings, classifier = prepared.settings, prepared.loaded.classifier
    width: Any = classifier.hf_model.score
    states = np.empty((len(indices), width.in_features), dtype=np.float32)
    done = 0
    classifier.eval()
    with torch.inference_mode(), autocast(settings.device, settings.precision):
        for places in budget_batches(inputs.training.texts.lengths[indices]):
            batch = inputs.collate([inputs.training[index] for index in indices[places].tolist()])
            del batch["labels"]
            pooled = classifier.pool_last_token(**to_device(batch, settings.device))
            states[places] = pooled.float().cpu().numpy()
            done += len(places)
            on_event(Progress("head", done, len(indices), "texts"))
    return states


def _is_exact(cached: TrainingInputs, prepared: PreparedTraining) -> bool:
    """Return whether stored states lead where all blocks lead, on a few examples."""
    settings, classifier = prepared.settings, prepared.loaded.classifier
    few = [cached.training[index] for index in range(min(4, len(cached.training)))]
    batch = to_device(cached.collate(few), settings.device)
    pooled = []
    for states in (None, batch["hidden_states"]):
        inputs = {name: batch[name] for name in batch if name not in ("labels", "hidden_states")}
        with torch.inference_mode(), autocast(settings.device, settings.precision):
            states_at_head = classifier.pool_last_token(**inputs, hidden_states=states)
        pooled.append(states_at_head.float())  # (B, H)
    whole, entered = pooled
    return bool((whole - entered).norm() <= _TOLERANCES[settings.precision] * whole.norm())
