"""The model as the server sees it: texts to tokens, tokens to probabilities, and what they mean.

`ServedModel` is all that the server asks of a model; `packed.PackedModel` is the torch model.
Nothing else of the server knows torch, so that a model without it can be served where torch is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.written import LabelKind

Members = tuple[str, ...]  # a text; or a text and its pair
Words = list[tuple[str, float]]  # stretches of a text and their weights; joined they are the text
Ask = Callable[[Sequence[Any], NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True)
class ReadTexts:
    """N texts as a model takes them.

    Attributes:
        content: N of whatever `ServedModel.probs` takes.
        sizes: (N,) int64 tokens that are computed for each.
        truncated: (N,) bool, which texts were cut.
    """

    content: Sequence[Any]
    sizes: NDArray[np.int64]
    truncated: NDArray[np.bool_]


class ServedModel(Protocol):
    """What the server asks of a model.

    Attributes:
        labels: C of them, in their stored order; of a regression the name of the number.
        kind: of the task.
        max_length: tokens that are read at once.
        num_members: 2 if every text has a second one, else 1.
        can_explain: whether `explain` may be called.
        facts: what `GET /info` tells of it, as JSON.
    """

    labels: tuple[str, ...]
    kind: LabelKind
    max_length: int
    num_members: int
    can_explain: bool
    facts: Mapping[str, Any]

    def read(self, texts: Sequence[Members]) -> ReadTexts:
        """Tokenize texts; called by one thread at a time."""
        ...

    def probs(self, content: Sequence[Any]) -> NDArray[np.float64]:
        """Return probabilities (N, C), of a regression numbers; called by one thread alone.

        What a text gets must not depend on the texts beside it.
        """
        ...

    def decide(self, probs: NDArray[np.float64]) -> NDArray[Any]:
        """Return N decisions, as `Predictor.decide` does."""
        ...

    def explain(
        self, texts: Sequence[Members], label_ids: NDArray[np.int64], ask: Ask
    ) -> list[Words]:
        """Return what each word does to a label's chances; called by one thread at a time.

        Args:
            texts: N of them.
            label_ids: (N,), the label explained in each.
            ask: returns what `probs` returns of content and sizes, whenever it is its turn.
        """
        ...
