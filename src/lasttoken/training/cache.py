"""What frozen blocks give, computed once: hidden states of all texts in one temporary file.

    texts        a b c | d e
    states       a b c   d e        (tokens, H) fp32, memory-mapped, read again every epoch
    offsets      0       3   5

The file lies in the folder for temporary files (`TMPDIR`) and is gone at the end, failed or not.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lasttoken.errors import ConfigError
from lasttoken.events import EventCallback, Progress, ignore
from lasttoken.inference.prediction import packed_batches
from lasttoken.model.batch import to_device
from lasttoken.model.classifier import Classifier
from lasttoken.model.device import Precision, autocast
from lasttoken.model.frozen import output_of_block
from lasttoken.training.sampler import TokenizedExamples

_BYTES = 4  # of a number: fp32, as the residual stream is

# Left free for everyone else who writes temporary files.
_SPARE_BYTES = 200 * 2**20

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
        width = inputs["input_ids"].shape[1]
        states = np.zeros((1, width, rows[0].shape[1]), dtype=np.float32)
        np.concatenate(rows, out=states[0, : sum(len(row) for row in rows)])
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
        for batch in packed_batches(texts):
            inputs = to_device(batch.to_inputs(), device)
            given = output_of_block(classifier, num_frozen, inputs)[0].float().cpu().numpy()
            if states is None:
                states = scratch_array(path, (int(texts.offsets[-1]), given.shape[1]))
            ends = batch.cu_seqlens.tolist()
            for place, index in enumerate(batch.owner.tolist()):
                text = given[ends[place] : ends[place + 1]]  # (L, H)
                states[texts.offsets[index] : texts.offsets[index + 1]] = text
            done += len(batch.owner)
            on_event(Progress("cache", done, len(texts), "texts"))
    assert states is not None, "there are examples"
    return CachedExamples(examples, states)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a temporary folder that is removed at the end, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="lasttoken-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def scratch_array(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Make an array in a file, with its room on the disk taken in advance.

    Raises:
        ConfigError: there is too little room.
    """
    num_bytes = math.prod(shape) * _BYTES
    check_room(num_bytes, path.parent)
    try:
        with path.open("wb") as file:
            # A hole in a file that finds no room later would end the process by a signal.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            else:
                file.truncate(num_bytes)
    except OSError as error:
        raise _too_little_room(num_bytes, path.parent, error.strerror or str(error)) from error
    return np.memmap(path, dtype=np.float32, mode="r+", shape=shape)


def check_room(num_bytes: int, folder: Path | None = None) -> None:
    """Check that the folder for temporary files has room for so many bytes.

    Raises:
        ConfigError: it has not.
    """
    folder = Path(tempfile.gettempdir()) if folder is None else folder
    free = shutil.disk_usage(folder).free
    if num_bytes + _SPARE_BYTES > free:
        raise _too_little_room(num_bytes, folder, f"{free / 1e9:.1f} GB are free")


def _too_little_room(num_bytes: int, folder: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"hidden states of {num_bytes / 1e9:.1f} GB do not fit into {folder}: {reason}",
        expected=f"{(num_bytes + _SPARE_BYTES) / 1e9:.1f} GB of room for temporary files",
        remedy="set TMPDIR to a folder on a larger disk, or train on less with --limit",
    )
