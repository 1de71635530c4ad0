"""A fitted classifier reads texts: tokens, logits, probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError

from lasttoken.events import EventCallback, ignore
from lasttoken.inference.prediction import predict_logits
from lasttoken.model.device import resolve_device, resolve_precision
from lasttoken.model.folder import LoadedModel
from lasttoken.model.tokens import TokenizedTexts, read_texts


class Predictor:
    """What predicts, once it has a model; `TextClassifier` is one.

    Attributes:
        loaded_: the model and how its texts were read in training; missing before it is fitted.
        device: "auto", "cpu", "cuda" ...
        precision: "auto", "fp32" or "bf16".
    """

    loaded_: LoadedModel
    device: str
    precision: str

    def tokenize(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        on_event: EventCallback = ignore,
    ) -> TokenizedTexts:
        """Return texts as the classifier reads them: repaired if it was trained so, and cut.

        Args:
            texts: N strings.
            pairs: N second ones, if it was trained on pairs.
            on_event: hears `Progress("tokenize", ...)`.

        Raises:
            DatasetError: it was trained on pairs, and there are none; or the other way round.
        """
        loaded = self._fitted()
        return read_texts(loaded.tokenizer, loaded.record, texts, pairs, on_event=on_event)

    def predict_logits(
        self, texts: TokenizedTexts, *, phase: str = "predict", on_event: EventCallback = ignore
    ) -> NDArray[np.float32]:
        """Return logits (N, C) of tokenized texts, rows in their order."""
        device = resolve_device(self.device)
        return predict_logits(
            self._fitted().classifier,
            texts,
            device=device,
            precision=resolve_precision(self.precision, device),
            phase=phase,
            on_event=on_event,
        )

    def probs(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return probabilities (N, C) float64 of logits (N, C); of a regression the numbers."""
        labels = self._fitted().classifier.labels
        return np.asarray(labels.probs(torch.from_numpy(logits)).double().numpy())

    def decide(self, probs: NDArray[np.float64]) -> NDArray[Any]:
        """Return decisions about probabilities (N, C), columns in the model's order.

        Returns:
            (N,) int64 label ids; multi-label (N, C) bool, each label given from its threshold on;
            regression (N,) float64.
        """
        loaded = self._fitted()
        thresholds = loaded.record.thresholds
        labels = loaded.classifier.labels
        least = [thresholds.get(label) for label in labels.labels]
        return np.asarray(labels.decide(torch.from_numpy(probs), least).numpy())

    def _fitted(self) -> LoadedModel:
        if not hasattr(self, "loaded_"):
            raise NotFittedError(
                "this TextClassifier is not fitted yet; call fit(texts, labels) first, or load "
                "one with TextClassifier.from_pretrained(folder)"
            )
        return self.loaded_
