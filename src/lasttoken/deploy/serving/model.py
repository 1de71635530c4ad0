"""The model as the server sees it: texts to tokens, tokens to probabilities, and what they mean.

It is a run or an exported model, opened as for `lasttoken predict`. Nothing of the server imports
torch, so that an export is served where torch is not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.tasks import name_of
from lasttoken.evaluation.leaving_out import columns_of, explain_by_leaving_out
from lasttoken.events import EventCallback, ignore
from lasttoken.model.tokens import TokenizedTexts, read_texts
from lasttoken.runs.row_classifier import OpenedModel
from lasttoken.versions import package_versions

Members = tuple[str, ...]  # a text; or a text and its pair
Words = list[tuple[str, float]]  # stretches of a text and their weights; joined they are the text
Ask = Callable[[Sequence[Any], NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True)
class ReadTexts:
    """N texts as a model takes them.

    Attributes:
        content: N arrays of token ids.
        sizes: (N,) int64 tokens that are computed for each.
        truncated: (N,) bool, which texts were cut.
    """

    content: Sequence[Any]
    sizes: NDArray[np.int64]
    truncated: NDArray[np.bool_]


class ServedModel:
    """A model that answers requests.

    Args:
        opened: the model, and what is known of it.
        name: by which people know it.

    Attributes:
        labels: C of them, in their stored order; of a regression the name of the number.
        kind: of the task.
        max_length: tokens that are read at once.
        num_members: 2 if every text has a second one, else 1.
        facts: what `GET /info` tells of it, as JSON.
    """

    def __init__(self, opened: OpenedModel, *, name: str) -> None:
        self._model = opened.model
        self._reading = reading = opened.record.reading
        # Its own tokenizer: one must not be used by two threads at a time.
        self._explaining = replace(opened, tokenizer=copy.deepcopy(opened.tokenizer))
        self.labels = opened.labels.labels
        self.kind = opened.labels.kind
        self.max_length = reading.max_length
        self.num_members = 2 if reading.has_pairs else 1
        self.facts: Mapping[str, Any] = {
            "name": name,
            "task": name_of(self.kind),
            "labels": list(self.labels),
            "max_length": reading.max_length,
            "long": reading.long,
            "template": reading.template,
            "text_pairs": self.num_members == 2,
            "text_column": opened.record.text_column,
            "text_pair_column": opened.record.text_pair_column,
            **opened.context,
            "versions": package_versions(),
        }

    def read(self, texts: Sequence[Members]) -> ReadTexts:
        """Tokenize texts; called by one thread at a time."""
        read = self._model.tokenize(*columns_of(list(texts), self.num_members == 2))
        return ReadTexts([read[place] for place in range(len(read))], read.work, read.truncated)

    def probs(self, content: Sequence[Any]) -> NDArray[np.float64]:
        """Return probabilities (N, C), of a regression numbers; called by one thread alone.

        What a text gets does not depend on the texts beside it.
        """
        lengths = np.array([len(ids) for ids in content], dtype=np.int64)
        texts = TokenizedTexts(
            np.concatenate(content),
            np.concatenate([[0], np.cumsum(lengths)]),
            lengths,
            np.zeros(len(lengths), dtype=np.bool_),
            self._reading,
        )
        return self._model.probs(self._model.predict_logits(texts))

    def decide(self, probs: NDArray[np.float64]) -> NDArray[Any]:
        """Return N decisions about probabilities (N, C)."""
        return self._model.decide(probs)

    def explain(
        self, texts: Sequence[Members], label_ids: NDArray[np.int64], ask: Ask
    ) -> list[Words]:
        """Return what each word does to a label's chances; called by one thread at a time.

        Each word is left out in turn; see `evaluation.leaving_out`.

        Args:
            texts: N of them.
            label_ids: (N,), the label explained in each.
            ask: returns what `probs` returns of content and sizes, whenever it is its turn.
        """
        explanations = explain_by_leaving_out(
            _Asking(self._explaining, ask),
            [members[0] for members in texts],
            label_ids,
            pairs=[members[1] for members in texts] if self.num_members == 2 else None,
        )
        return [[(span.text, span.weight) for span in spans] for spans in explanations]


class _Asking:
    """A model whose forward passes are done by the thread that owns it; see `Explained`.

    Args:
        opened: the model, with a tokenizer of its own.
        ask: as in `ServedModel.explain`.
    """

    def __init__(self, opened: OpenedModel, ask: Ask) -> None:
        self.loaded_ = opened
        self._ask = ask

    def tokenize(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> TokenizedTexts:
        """Return texts as the model reads them."""
        return read_texts(self.loaded_.tokenizer, self.loaded_.record, texts, pairs)

    def predict_logits(
        self, texts: TokenizedTexts, *, phase: str = "predict", on_event: EventCallback = ignore
    ) -> NDArray[np.float32]:
        """Return probabilities in the place of logits: `probs` leaves them as they are."""
        del phase, on_event
        content = [texts[place] for place in range(len(texts))]
        return self._ask(content, texts.work).astype(np.float32)

    def probs(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what `predict_logits` gave."""
        return logits.astype(np.float64)
