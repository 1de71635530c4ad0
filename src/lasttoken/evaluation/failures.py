"""Failures: the examples that the model got wrong, the surest first, and the pairs it confuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.examples import Example
from lasttoken.evaluation.metrics import LabelIds, Probs

MOST_ERRORS = 20
MOST_PAIRS = 10
TEXTS_OF_A_PAIR = 3
LONGEST_SHOWN = 2_000  # characters of a text that is not shown in full
MOST_CHARACTERS = 200_000  # of all texts shown together; the page stays small


@dataclass(frozen=True)
class Failures:
    """The worst answers to examples.

    Attributes:
        rows: indices of the examples, (E,), the worst first.
        explained: (E,) the label id of each for which words may speak.
        entries: E, in the form of `metrics.json`.
        num_errors: wrong answers in all.
        num_too_long: worse ones that are left out, because their texts are too long for a page.
        errors: E, predicted minus true numbers of a regression; else None.
    """

    rows: NDArray[np.int64]
    explained: LabelIds
    entries: Sequence[dict[str, Any]]
    num_errors: int
    num_too_long: int
    errors: Sequence[float] | None = None

    def to_list(
        self,
        words: Sequence[Sequence[tuple[str, float]]],
        windows: Sequence[Mapping[str, Any] | None] = (),
    ) -> list[dict[str, Any]]:
        """Return the form of `metrics.json`.

        Args:
            words: for each of the E, its text in parts, each with how much it spoke for the
                label; nothing where nobody asked.
            windows: for each of the E, which window of a long text spoke most for the label, or
                None; nothing where texts are not read in windows.
        """
        found = [dict(entry) for entry in self.entries]
        for entry, parts in zip(found, words, strict=False):
            entry["words"] = [[text, round(weight, 6)] for text, weight in parts]
        for entry, window in zip(found, windows, strict=False):
            if window is not None:
                entry["window"] = dict(window)
        return found


def confident_errors(
    examples: Sequence[Example],
    label_ids: LabelIds,
    probs: Probs,
    labels: Sequence[str],
    limit: int = MOST_ERRORS,
) -> Failures:
    """Return up to `limit` wrong answers, the surest, as long as their texts fit on a page.

    Shapes:
        label_ids (N,); probs (N, C), rows in the order of `examples`.
    """
    predicted_ids = probs.argmax(axis=1)
    confidence = probs.max(axis=1)
    wrong = np.flatnonzero(predicted_ids != label_ids)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")]
    rows, num_too_long = fitting_on_a_page(examples, order, limit)
    entries = [
        {
            **place_of(examples[row]),
            "label": examples[row].label,
            "predicted": labels[int(predicted_ids[row])],
            "probability": float(confidence[row]),
        }
        for row in rows.tolist()
    ]
    return Failures(rows, predicted_ids[rows], entries, len(wrong), num_too_long)


def fitting_on_a_page(
    examples: Sequence[Example], order: NDArray[np.int64], limit: int
) -> tuple[NDArray[np.int64], int]:
    """Return up to `limit` rows (E,), the first whose texts fit, and how many were too long."""
    rows: list[int] = []
    room, num_too_long = MOST_CHARACTERS, 0
    for row in order.tolist():
        size = len(examples[row].whole_text)
        if len(rows) == limit:
            break
        if size <= room:
            rows.append(row)
            room -= size
        else:
            num_too_long += 1
    return np.array(rows, dtype=np.int64), num_too_long


def confused_pairs(
    examples: Sequence[Example], label_ids: LabelIds, probs: Probs, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the pairs of labels confused most, with example texts, as in `metrics.json`.

    The commonest come first, of equals the larger share of the true label; texts are the surest
    of their pair.
    """
    predicted_ids = probs.argmax(axis=1)
    confidence = probs.max(axis=1)
    support = np.bincount(label_ids, minlength=len(labels))
    wrong = np.flatnonzero(predicted_ids != label_ids)
    pair_of = label_ids[wrong] * len(labels) + predicted_ids[wrong]
    pairs, counts = np.unique(pair_of, return_counts=True)
    shares = counts / support[pairs // len(labels)]
    found = []
    for place in np.lexsort((-shares, -counts))[:MOST_PAIRS].tolist():
        true, predicted = divmod(int(pairs[place]), len(labels))
        members = wrong[pair_of == pairs[place]]
        surest = members[np.argsort(-confidence[members], kind="stable")]
        found.append(
            {
                "true": labels[true],
                "predicted": labels[predicted],
                "count": int(counts[place]),
                "share": float(shares[place]),
                "examples": [
                    {
                        **place_of(examples[row]),
                        "text": shorten(examples[row].whole_text),
                        "probability": float(confidence[row]),
                    }
                    for row in surest[:TEXTS_OF_A_PAIR].tolist()
                ],
            }
        )
    return found


def shorten(text: str, limit: int = LONGEST_SHOWN) -> str:
    """Return a text as it is shown beside others: one that is longer is cut, which "…" tells."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def place_of(example: Example) -> dict[str, Any]:
    """Return where an example stands, and its text."""
    return {"file": example.file, "row": example.row, "text": example.whole_text}
