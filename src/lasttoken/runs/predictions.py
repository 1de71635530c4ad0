"""Predictions of labeled examples as they are kept: `predictions/{validation,test}.parquet`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.examples import Example
from lasttoken.data.parquet import read_columns
from lasttoken.data.writers import write_table
from lasttoken.durable import telling
from lasttoken.errors import RunError

VALIDATION = Path("predictions", "validation.parquet")  # below a run's folder
TEST = Path("predictions", "test.parquet")


@dataclass(frozen=True)
class StoredPredictions:
    """Examples without their texts, and what a model said of them.

    Attributes:
        texts_sha256: N hashes.
        labels: N true labels.
        logits: (N, C) float64, as the saved model gives them.
    """

    texts_sha256: tuple[str, ...]
    labels: tuple[str, ...]
    logits: NDArray[np.float64]


def write_predictions(path: Path, examples: Sequence[Example], logits: NDArray[np.float32]) -> None:
    """Write file, row, text hash, true label and logits of each example.

    Shapes:
        logits (N, C), rows in the order of the N examples.

    Raises:
        RunError: the file cannot be written.
    """
    with telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_table(
        path,
        {
            "file": [example.file for example in examples],
            "row": [example.row for example in examples],
            "text_sha256": [text_sha256(example) for example in examples],
            "label": [example.label for example in examples],
            "logits": logits.astype(np.float64).tolist(),
        },
    )


def read_predictions(path: Path) -> StoredPredictions:
    """Read what `write_predictions` wrote.

    Raises:
        RunError: the file is missing, damaged, or has other columns.
    """
    try:
        columns = read_columns(path)
        return StoredPredictions(
            tuple(columns["text_sha256"]),
            tuple(columns["label"]),
            np.array(columns["logits"], dtype=np.float64),
        )
    except (OSError, ValueError, KeyError) as error:
        what = error if path.exists() else "no such file"
        raise RunError(
            f"{path}: {what}",
            expected="the predictions of a finished run or evaluation",
            remedy="make them anew with lasttoken train or evaluate",
        ) from error


def text_sha256(example: Example) -> str:
    """Return the hash by which the examples of two runs are known to be the same."""
    pair = "" if example.text_pair is None else f"\0{example.text_pair}"
    return hashlib.sha256((example.text + pair).encode("utf-8", "surrogatepass")).hexdigest()
