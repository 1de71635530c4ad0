"""The model as the server sees it: texts to tokens, tokens to probabilities, and what they mean.

`ServedModel` is all that the server asks of a model; `PackedModel` is the torch model, read packed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.labels import LabelSpec
from lasttoken.data.tasks import name_of
from lasttoken.estimator import TextClassifier
from lasttoken.evaluation.explain import explain_by_leaving_out
from lasttoken.evaluation.words import has_places
from lasttoken.events import EventCallback, ignore
from lasttoken.inference.predictor import Predictor
from lasttoken.model.device import resolve_device, resolve_precision
from lasttoken.model.folder import LoadedModel
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.versions import package_versions

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
        labels: in their stored order, and the kind of task.
        max_length: tokens that are read at once.
        num_members: 2 if every text has a second one, else 1.
        facts: what `GET /info` tells of it, as JSON.
    """

    labels: LabelSpec
    max_length: int
    num_members: int
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


class PackedModel:
    """A torch model that reads texts packed; see `ServedModel`.

    Args:
        classifier: loaded, with the device and precision to be used.
        name: by which people know it.
    """

    def __init__(self, classifier: TextClassifier, *, name: str) -> None:
        loaded = classifier.loaded_
        reading = loaded.record.reading
        self._classifier = classifier
        # Its own tokenizer: those of transformers must not be used by two threads at a time.
        self._explaining = _another_tokenizer(loaded)
        self.labels = loaded.classifier.labels
        self.max_length = reading.max_length
        self.num_members = 2 if reading.has_pairs else 1
        device = resolve_device(classifier.device)
        self.facts: Mapping[str, Any] = {
            "name": name,
            "task": name_of(self.labels.kind),
            "labels": list(self.labels.labels),
            "max_length": reading.max_length,
            "long": reading.long,
            "template": reading.template,
            "text_pairs": self.num_members == 2,
            "text_column": loaded.record.text_column,
            "text_pair_column": loaded.record.text_pair_column,
            "precision": resolve_precision(classifier.precision, device),
            "device": str(device),
            "reading_path": loaded.classifier.proof.path,
            "versions": package_versions(),
        }

    def read(self, texts: Sequence[Members]) -> ReadTexts:
        """Tokenize texts; see `ServedModel`."""
        read = self._classifier.tokenize(*_columns(texts, self.num_members))
        return ReadTexts([read[place] for place in range(len(read))], read.work, read.truncated)

    def probs(self, content: Sequence[Any]) -> NDArray[np.float64]:
        """Return probabilities of token ids, in batches of like length; see `ServedModel`."""
        lengths = np.array([len(ids) for ids in content], dtype=np.int64)
        texts = TokenizedTexts(
            np.concatenate(content),
            np.concatenate([[0], np.cumsum(lengths)]),
            lengths,
            np.zeros(len(lengths), dtype=np.bool_),
            self._classifier.loaded_.record.reading,
        )
        return self._classifier.probs(self._classifier.predict_logits(texts))

    def decide(self, probs: NDArray[np.float64]) -> NDArray[Any]:
        """Return decisions; see `ServedModel`."""
        return self._classifier.decide(probs)

    def explain(
        self, texts: Sequence[Members], label_ids: NDArray[np.int64], ask: Ask
    ) -> list[Words]:
        """Leave out each word in turn; see `evaluation.explain` and `ServedModel`."""
        explanations = explain_by_leaving_out(
            _Asking(self._explaining, ask),
            [members[0] for members in texts],
            label_ids,
            pairs=[members[1] for members in texts] if self.num_members == 2 else None,
        )
        return [[(span.text, span.weight) for span in spans] for spans in explanations]


class _Asking(Predictor):
    """A predictor whose forward passes are done by the thread that owns the model.

    Args:
        loaded: the model, with a tokenizer of its own.
        ask: as in `ServedModel.explain`.
    """

    def __init__(self, loaded: LoadedModel, ask: Ask) -> None:
        self.loaded_ = loaded
        self._ask = ask

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


def _another_tokenizer(loaded: LoadedModel) -> LoadedModel:
    if not has_places(loaded):  # written in Python: copying may share what it must not
        return loaded
    return replace(loaded, tokenizer=copy.deepcopy(loaded.tokenizer))


def _columns(texts: Sequence[Members], num_members: int) -> list[list[str]]:
    """Return all texts, and all second ones if there are any."""
    return [[members[place] for members in texts] for place in range(num_members)]
