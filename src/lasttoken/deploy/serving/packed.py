"""The torch model behind the server: read packed, by the same functions as offline prediction."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.tasks import name_of
from lasttoken.deploy.serving.model import Ask, Members, ReadTexts, Words
from lasttoken.estimator import TextClassifier
from lasttoken.evaluation.explain import explain_by_leaving_out
from lasttoken.events import EventCallback, ignore
from lasttoken.inference.predictor import Predictor
from lasttoken.model.device import resolve_device, resolve_precision
from lasttoken.model.folder import LoadedModel
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.training.preparation import tell_reading_path
from lasttoken.versions import package_versions


def load_packed(run: str, *, precision: str, device: str, on_event: EventCallback) -> PackedModel:
    """Load a run folder or model folder.

    Raises:
        LastTokenError: it is not there, cannot be loaded safely, or has no trained head.
    """
    classifier = TextClassifier.from_pretrained(run, precision=precision, device=device)
    tell_reading_path(classifier.loaded_, on_event)
    return PackedModel(classifier, name=Path(run).expanduser().resolve().name)


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
        self._explaining = replace(loaded, tokenizer=copy.deepcopy(loaded.tokenizer))
        labels = loaded.classifier.labels
        self.labels = labels.labels
        self.kind = labels.kind
        self.max_length = reading.max_length
        self.num_members = 2 if reading.has_pairs else 1
        self.can_explain = True
        device = resolve_device(classifier.device)
        self.facts: Mapping[str, Any] = {
            "name": name,
            "task": name_of(labels.kind),
            "labels": list(labels.labels),
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


def _columns(texts: Sequence[Members], num_members: int) -> list[list[str]]:
    """Return all texts, and all second ones if there are any."""
    return [[members[place] for members in texts] for place in range(num_members)]
