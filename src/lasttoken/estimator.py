"""The user's object: a scikit-learn estimator around a decoder that reads the last token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from lasttoken.config import DEFAULT_MODEL
from lasttoken.data.examples import Example, examples_from_python
from lasttoken.data.labels import LabelSpec
from lasttoken.data.splits import fingerprint, set_aside
from lasttoken.data.unicode import check_unicode, fix_texts
from lasttoken.errors import ConfigError
from lasttoken.events import EpochEnd, EventCallback, Note, ignore
from lasttoken.inference.prediction import predict_logits
from lasttoken.model.batch import Gpt2ClassificationCollator
from lasttoken.model.device import resolve_device, resolve_precision
from lasttoken.model.folder import (
    LabelType,
    LoadedModel,
    ModelRecord,
    load_for_prediction,
    load_for_training,
    save_model_folder,
)
from lasttoken.model.sources import fetch_model, locate_model
from lasttoken.model.tokens import TokenizedTexts, tokenize
from lasttoken.training.fit import fit as fit_classifier
from lasttoken.training.sampler import TokenizedExamples
from lasttoken.training.state import FitResult, FitSettings
from lasttoken.versions import package_versions

# Texts tokenized and classified at a time: bounds memory whatever the input's size.
TEXTS_PER_CHUNK = 10_000


@dataclass(frozen=True)
class PreparedTraining:
    """Everything loaded, tokenized and resolved; nothing trained yet.

    Attributes:
        loaded: the model with its head for these labels.
        training: tokenized examples to learn from.
        validating: tokenized examples that choose the epoch to keep.
        settings: of the loop, resolved.
        max_length: tokens at which texts are cut, resolved.
        data_fingerprint: SHA-256 over the training examples.
    """

    loaded: LoadedModel
    training: TokenizedExamples
    validating: TokenizedExamples
    settings: FitSettings
    max_length: int
    data_fingerprint: str

    def tokenize(
        self, examples: Sequence[Example], *, on_event: EventCallback = ignore
    ) -> TokenizedTexts:
        """Return the texts of further examples as the model will read them."""
        return tokenize(
            self.loaded.tokenizer,
            [example.text for example in examples],
            max_length=self.max_length,
            on_event=on_event,
        )


class TextClassifier(ClassifierMixin, BaseEstimator):
    """Classify texts by a decoder's hidden state at the last token.

    Args:
        model: Hub id, local folder, .gguf file or sample name ("smollm2").
        num_epochs: passes over the training examples.
        batch_size: examples of one batch.
        gradient_accumulation_steps: batches added up before an optimizer step.
        learning_rate: peak rate of AdamW.
        weight_decay: decoupled decay of matrices.
        warmup_fraction: share of steps that warm up linearly, 0 to below 1.
        max_grad_norm: the gradient's norm is clipped at this.
        early_stopping_patience: epochs without a better one before training stops; None never.
        validation_fraction: share of the texts given to `fit` that choose the epoch to keep.
        max_length: cut texts at this many tokens; None is the model's limit.
        fix_text: repair broken Unicode with ftfy, in `fit` and at prediction.
        seed: of the validation split, the head, the order and dropout.
        precision: "auto" (bf16 where the device multiplies it natively), "fp32" or "bf16".
        device: "auto", "cpu", "cuda" ...

    Attributes:
        classes_: (C,) the labels in their stored order, of the type given to `fit`.
        history_: one `EpochEnd` an epoch.
        best_epoch_: the epoch whose weights are kept, counted from 1.

    Example:
        clf = TextClassifier("gpt2").fit(texts, labels)
        clf.predict(["what a film"])
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        num_epochs: int = 3,
        batch_size: int = 32,
        gradient_accumulation_steps: int = 1,
        learning_rate: float = 5e-5,
        weight_decay: float = 0.0,
        warmup_fraction: float = 0.0,
        max_grad_norm: float = 1.0,
        early_stopping_patience: int | None = None,
        validation_fraction: float = 0.1,
        max_length: int | None = None,
        fix_text: bool = False,
        seed: int = 123,
        precision: str = "auto",
        device: str = "auto",
    ) -> None:
        self.model = model
        self.num_epochs = num_epochs
        self.batch_size = batch_size
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_fraction = warmup_fraction
        self.max_grad_norm = max_grad_norm
        self.early_stopping_patience = early_stopping_patience
        self.validation_fraction = validation_fraction
        self.max_length = max_length
        self.fix_text = fix_text
        self.seed = seed
        self.precision = precision
        self.device = device

    def fit(
        self,
        texts: Iterable[Any],
        labels: Iterable[Any] | None = None,
        *,
        validation: tuple[Iterable[Any], Iterable[Any]] | None = None,
        on_event: EventCallback = ignore,
    ) -> TextClassifier:
        """Fine-tune the model on labelled texts.

        Args:
            texts: N strings: a list, array, Series or `datasets` column; or mappings with "text"
                and "label".
            labels: N labels (str, int or bool); None if the texts carry them.
            validation: texts and labels that choose the epoch to keep; None sets a stratified
                fraction of the given texts aside.
            on_event: hears progress and results.

        Raises:
            LastTokenError: a text, label, setting or the model is not as described.
        """
        label_values = list(labels) if labels is not None else None
        train = check_unicode(
            examples_from_python(texts, label_values), fix=self.fix_text, on_event=on_event
        )
        if validation is not None:
            validating = check_unicode(
                examples_from_python(*validation), fix=self.fix_text, on_event=on_event
            )
        else:
            parts = set_aside(train, {"validation": self.validation_fraction}, self.seed, on_event)
            train, validating = parts["train"], parts["validation"]
        prepared = self.prepare(train, validating, on_event=on_event)
        self.train(prepared, label_type=_label_type(label_values), on_event=on_event)
        return self

    def prepare(
        self,
        train: Sequence[Example],
        validating: Sequence[Example],
        *,
        on_event: EventCallback = ignore,
    ) -> PreparedTraining:
        """Load the model and tokenize the examples; change nothing yet.

        Raises:
            LastTokenError: the model cannot be had, or a setting does not fit it.
        """
        device = resolve_device(self.device)
        settings = FitSettings(
            num_epochs=self.num_epochs,
            batch_size=self.batch_size,
            gradient_accumulation_steps=self.gradient_accumulation_steps,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup_fraction=self.warmup_fraction,
            max_grad_norm=self.max_grad_norm,
            early_stopping_patience=self.early_stopping_patience,
            seed=self.seed,
            precision=resolve_precision(self.precision, device),
            device=device,
        )
        train_labels = [str(example.label) for example in train]
        labels = LabelSpec.from_labels(train_labels)
        folder = fetch_model(locate_model(self.model), on_event)
        loaded = load_for_training(folder, labels, seed=self.seed)
        if loaded.classifier.proof.reason:
            reason = loaded.classifier.proof.reason
            on_event(Note(f"this model is read padded, not packed: {reason}", is_warning=True))
        if not loaded.head_is_new:
            on_event(Note("the model's own head is kept: its labels are the same"))
        max_length = self._resolve_max_length(loaded)
        tokenized = [
            TokenizedExamples(
                tokenize(
                    loaded.tokenizer,
                    [example.text for example in examples],
                    max_length=max_length,
                    on_event=on_event,
                ),
                [str(example.label) for example in examples],
            )
            for examples in (train, validating)
        ]
        return PreparedTraining(loaded, *tokenized, settings, max_length, fingerprint(train))

    def train(
        self,
        prepared: PreparedTraining,
        *,
        label_type: LabelType = "str",
        record: Mapping[str, Any] | None = None,
        tokens_after: int = 0,
        on_event: EventCallback = ignore,
    ) -> FitResult:
        """Train what `prepare` made ready; `fit` is the two together.

        Args:
            prepared: by `prepare`.
            label_type: type of `classes_`.
            record: further fields of the model folder's record (`ModelRecord`).
            tokens_after: of gradient-free passes that the caller makes afterwards.
            on_event: hears progress and results.
        """
        loaded = prepared.loaded
        collator = Gpt2ClassificationCollator(
            loaded.tokenizer, loaded.classifier.labels, prepared.max_length, layout="packed"
        )
        result = fit_classifier(
            loaded.classifier,
            collator,
            prepared.training,
            prepared.validating,
            prepared.settings,
            tokens_after=tokens_after,
            on_event=on_event,
        )
        self.history_: tuple[EpochEnd, ...] = result.history
        self.best_epoch_ = result.best_epoch
        details = {"settings": self.get_params(), **(record or {})}
        self._become(
            loaded,
            ModelRecord(
                max_length=prepared.max_length,
                fix_text=self.fix_text,
                label_type=label_type,
                model=self.model,
                reading_path=loaded.classifier.proof.path,
                data_fingerprint=prepared.data_fingerprint,
                versions=package_versions(),
                **details,
            ),
        )
        return result

    def predict(self, texts: Iterable[Any]) -> NDArray[Any]:
        """Return the most probable label of each text, (N,), of the type given to `fit`."""
        classes: NDArray[Any] = self.classes_
        return classes[self.predict_proba(texts).argmax(axis=1)]

    def predict_proba(self, texts: Iterable[Any]) -> NDArray[np.float64]:
        """Return probabilities, (N, C) float64, columns in the order of `classes_`.

        Raises:
            NotFittedError: neither `fit` nor `from_pretrained` came before.
            DatasetError: a text is missing or no string.
        """
        self._check_fitted()
        examples = examples_from_python(texts)
        chunks = [np.zeros((0, len(self.classes_)))]
        for start in range(0, len(examples), TEXTS_PER_CHUNK):
            chunk = examples[start : start + TEXTS_PER_CHUNK]
            logits = self.predict_logits(self.tokenize([example.text for example in chunk]))
            chunks.append(self.probs(logits))
        return np.concatenate(chunks)

    def tokenize(self, texts: Sequence[str], *, on_event: EventCallback = ignore) -> TokenizedTexts:
        """Return texts as the classifier reads them: repaired if it was trained so, and cut."""
        self._check_fitted()
        loaded: LoadedModel = self.loaded_
        read = fix_texts(texts) if loaded.record.fix_text else texts
        return tokenize(
            loaded.tokenizer, read, max_length=loaded.record.max_length, on_event=on_event
        )

    def predict_logits(
        self, texts: TokenizedTexts, *, phase: str = "predict", on_event: EventCallback = ignore
    ) -> NDArray[np.float32]:
        """Return logits (N, C) of tokenized texts, rows in their order."""
        self._check_fitted()
        device = resolve_device(self.device)
        return predict_logits(
            self.loaded_.classifier,
            texts,
            device=device,
            precision=resolve_precision(self.precision, device),
            phase=phase,
            on_event=on_event,
        )

    def probs(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return probabilities (N, C) float64 of logits (N, C)."""
        import torch

        probs: NDArray[np.float64] = (
            self.loaded_.classifier.labels.probs(torch.from_numpy(logits)).double().numpy()
        )
        return probs

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a model folder that any Hugging Face program reads.

        Raises:
            NotFittedError: there is nothing to save.
            RunError: the folder exists and is not empty.
        """
        self._check_fitted()
        loaded: LoadedModel = self.loaded_
        save_model_folder(Path(folder), loaded.classifier, loaded.tokenizer, loaded.record)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, precision: str = "auto", device: str = "auto"
    ) -> TextClassifier:
        """Load a run folder, a model folder, or anyone's classifier of a decoder.

        Args:
            folder: local path.
            precision: for prediction; never inherited from training.
            device: for prediction.

        Raises:
            RunError: there is no model.
            BackboneError: it cannot be loaded safely, or has no trained head.
        """
        loaded = load_for_prediction(folder)
        known = cls().get_params()
        saved = {key: loaded.record.settings[key] for key in loaded.record.settings if key in known}
        classifier = cls(**{**saved, "precision": precision, "device": device})
        classifier._become(loaded, loaded.record)
        return classifier

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 - scikit-learn has no types
        """Tell scikit-learn that the input is a sequence of strings."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def _become(self, loaded: LoadedModel, record: ModelRecord) -> None:
        self.loaded_ = LoadedModel(
            loaded.classifier, loaded.tokenizer, loaded.token_limit, record, head_is_new=False
        )
        self.classes_ = np.array(
            [_TO_TYPE[record.label_type](label) for label in loaded.classifier.labels.labels]
        )

    def _check_fitted(self) -> None:
        if not hasattr(self, "loaded_"):
            raise NotFittedError(
                "this TextClassifier is not fitted yet; call fit(texts, labels) first, or load "
                "one with TextClassifier.from_pretrained(folder)"
            )

    def _resolve_max_length(self, loaded: LoadedModel) -> int:
        if self.max_length is None:
            return loaded.token_limit
        if self.max_length > loaded.token_limit:
            raise ConfigError(
                f"--max-length {self.max_length}: more than model {self.model!r} can read",
                expected=f"at most {loaded.token_limit} tokens",
                remedy=f"--max-length {loaded.token_limit}, or leave it out",
            )
        return self.max_length


def _label_type(labels: Sequence[Any] | None) -> LabelType:
    """Return the type that `classes_` gets back: labels travel as strings."""
    if labels and all(isinstance(label, bool | np.bool_) for label in labels):
        return "bool"
    if labels and all(
        isinstance(label, int | np.integer) and not isinstance(label, bool) for label in labels
    ):
        return "int"
    return "str"


_TO_TYPE: dict[LabelType, Any] = {"str": str, "int": int, "bool": lambda label: label == "True"}
