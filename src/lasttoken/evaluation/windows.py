"""Which stretch of a long text decided: what each of its windows says alone.

    "a slow start ..."   "... in the middle ..."   "... and a wonderful end"
     p(positive) 0.31      0.48                      0.94                       spoke most for it

The answer to the whole text is the mean of the windows' logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.failures import shorten
from lasttoken.evaluation.words import locate_tokens
from lasttoken.events import EventCallback, ignore
from lasttoken.inference.predictor import Predictor

_SHOWN = 100  # characters of a window beside an answer


@dataclass(frozen=True)
class WindowAnswer:
    """What a model says of one window of a text.

    Attributes:
        start: first character of the window in the text; of a pair, in `Example.whole_text`.
        stop: the character behind its last one.
        text: what stands there.
        values: (C,) float64 probabilities in the order of the model's labels; of a regression (1,)
            the number.
    """

    start: int
    stop: int
    text: str
    values: NDArray[np.float64]


def read_windows(
    predictor: Predictor,
    texts: Sequence[str],
    *,
    pairs: Sequence[str] | None = None,
    on_event: EventCallback = ignore,
) -> list[tuple[WindowAnswer, ...]]:
    """Return what a fitted classifier says of each window of each text, window by window.

    A text that is read at once has one window. Of a pair, the text that is divided is told.

    Args:
        predictor: a fitted classifier, such as a `TextClassifier`.
        texts: B strings.
        pairs: B second ones, if it was trained on pairs.
        on_event: hears `Progress("explain", ...)`.

    Raises:
        BackboneError: the tokenizer does not tell where its tokens stand.
    """
    tokenized = predictor.tokenize(texts, pairs)
    values = predictor.probs(
        predictor.predict_logits(tokenized.windows(), phase="explain", on_event=on_event)
    )  # (all windows, C)
    ends = np.cumsum(tokenized.num_windows)
    members = [(text,) for text in texts] if pairs is None else zip(texts, pairs, strict=True)
    return [
        tuple(
            WindowAnswer(start, stop, "\n".join(own)[start:stop], value)
            for (start, stop), value in zip(_places(predictor, own, number), part, strict=True)
        )
        for own, number, part in zip(
            members, tokenized.num_windows.tolist(), np.split(values, ends[:-1]), strict=True
        )
    ]


def deciding_windows(
    predictor: Predictor,
    texts: Sequence[str],
    label_ids: NDArray[np.int64],
    *,
    pairs: Sequence[str] | None = None,
    errors: Sequence[float] | None = None,
    on_event: EventCallback = ignore,
) -> list[dict[str, Any] | None]:
    """Return which window of each text spoke most for a label, in the form of `metrics.json`.

    Args:
        predictor: as for `read_windows`.
        texts: likewise.
        label_ids: (B,), the label of each text that is asked about.
        pairs: as for `read_windows`.
        errors: B, predicted minus true numbers: the window of the least number speaks most for an
            answer that is too low. None: the window of the largest value speaks most.
        on_event: as for `read_windows`.

    Returns:
        B entries; None for a text that has only one window.
    """
    entries: list[dict[str, Any] | None] = []
    read = read_windows(predictor, texts, pairs=pairs, on_event=on_event)
    signs = np.ones(len(read)) if errors is None else np.where(np.asarray(errors) < 0, -1.0, 1.0)
    for windows, label_id, sign in zip(read, label_ids.tolist(), signs.tolist(), strict=True):
        most = int(np.argmax([sign * window.values[label_id] for window in windows]))
        chosen = windows[most]
        entries.append(
            None
            if len(windows) == 1
            else {
                "number": most + 1,
                "of": len(windows),
                "start": chosen.start,
                "stop": chosen.stop,
                "text": shorten(chosen.text, _SHOWN),
                "value": float(chosen.values[label_id]),
            }
        )
    return entries


def _places(
    predictor: Predictor, members: tuple[str, ...], num_windows: int
) -> list[tuple[int, int]]:
    """Return where each window's part of the text that is divided begins and ends."""
    if num_windows == 1:
        return [(0, len("\n".join(members)))]
    tokens = locate_tokens(predictor.loaded_, *members)
    boundary = len(members[0])
    found: list[list[tuple[int, int]]] = [[], []]  # in the text, and in the second one
    for places, is_text in zip(
        np.split(tokens.places, num_windows), np.split(tokens.is_text, num_windows), strict=True
    ):
        halves = (places[:, 0] < boundary, places[:, 0] > boundary)
        for own, inside in zip(found, halves, strict=True):
            read = places[is_text & inside]
            own.append((int(read[:, 0].min()), int(read[:, 1].max())) if len(read) else (0, 0))
    return found[0] if len(set(found[0])) > 1 else found[1]
