"""The user's object: a scikit-learn estimator around a decoder that reads the last token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin

from lasttoken.data.examples import Example, check_labeled, examples_from_python
from lasttoken.data.labels import LabelSpec, label_type, to_label_type
from lasttoken.data.splits import set_aside
from lasttoken.data.unicode import check_unicode
from lasttoken.events import EpochEnd, EventCallback, ignore
from lasttoken.inference.predictor import Predictor
from lasttoken.model.device import resolve_device, resolve_precision
from lasttoken.model.folder import (
    LoadedModel,
    ModelRecord,
    load_for_prediction,
    save_model_folder,
)
from lasttoken.training.calibrating import calibrate
from lasttoken.training.fit import fit as fit_classifier
from lasttoken.training.parameters import Parameters
from lasttoken.training.preparation import PreparedTraining, prepare_training
from lasttoken.training.saver import CheckpointSettings
from lasttoken.training.state import FitResult, FitSettings
from lasttoken.versions import package_versions

# Texts tokenized and classified at a time: bounds memory whatever the input's size.
TEXTS_PER_CHUNK = 10_000


class TextClassifier(Predictor, ClassifierMixin, Parameters):
    """Classify texts by a decoder's hidden state at the last token.

    Probabilities are calibrated on the validation texts by temperature scaling; the temperature
    is part of the head, so that a saved model gives the same ones everywhere.

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
        trainable: "full"; "last-3" (the last 3 blocks, the final norm and the head learn); or
            "probe" (the head alone, fitted in one pass).
        depth: keep the first so many blocks; "auto" chooses by a cross-validated probe of every
            block on the training texts; None keeps all.
        max_length: cut texts at this many tokens; None is the model's limit.
        prompt: put in front of every text, in `fit` and at prediction; computed once a batch.
        fix_text: repair broken Unicode with ftfy, in `fit` and at prediction.
        seed: of the validation split, the head, the order and dropout.
        precision: "auto" (bf16 where the device multiplies it natively), "fp32" or "bf16".
        device: "auto", "cpu", "cuda" ...

    Attributes:
        classes_: (C,) the labels, sorted, of the type given to `fit`.
        history_: one `EpochEnd` an epoch.
        extent_: blocks and weights that were kept and trained, and the probe table if one was made.
        best_epoch_: the epoch whose weights are kept, counted from 1.
    """

    def fit(
        self,
        texts: Iterable[Any],
        labels: Iterable[Any] | None = None,
        *,
        validation: tuple[Iterable[Any], Iterable[Any]] | None = None,
        on_event: EventCallback = ignore,
    ) -> TextClassifier:
        """Fine-tune the model on labeled texts.

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
        # A string is left for the check below to refuse; an iterator is read once, here.
        label_values = labels if labels is None or isinstance(labels, str) else list(labels)
        train = examples_from_python(texts, label_values)
        check_labeled(train)
        if validation is not None:
            validating = examples_from_python(*validation)
        else:
            LabelSpec.from_labels(str(example.label) for example in train)  # told before sizes
            parts = set_aside(train, {"validation": self.validation_fraction}, self.seed, on_event)
            train, validating = parts["train"], parts["validation"]
        train, validating = (
            check_unicode(examples, fix=self.fix_text, on_event=on_event)
            for examples in (train, validating)
        )
        prepared = self.prepare(train, validating, on_event=on_event)
        self.train(prepared, record={"label_type": label_type(label_values)}, on_event=on_event)
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
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(FitSettings)}
        values |= {"device": device, "precision": resolve_precision(self.precision, device)}
        settings = FitSettings(**values)
        return prepare_training(
            self.model,
            train,
            validating,
            settings,
            max_length=self.max_length,
            prompt=self.prompt,
            on_event=on_event,
        )

    def train(
        self,
        prepared: PreparedTraining,
        *,
        record: Mapping[str, Any] | None = None,
        checkpoints: CheckpointSettings | None = None,
        tokens_after: int = 0,
        on_event: EventCallback = ignore,
    ) -> FitResult:
        """Train what `prepare` made ready; `fit` is the two together.

        Args:
            prepared: by `prepare`.
            record: further fields of the model folder's record (`ModelRecord`).
            checkpoints: where to save, and to go on from; None saves nothing.
            tokens_after: of gradient-free passes that the caller makes afterwards.
            on_event: hears progress and results.
        """
        with torch.random.fork_rng():  # dropout is seeded; the caller's generator is left alone
            result = fit_classifier(
                prepared, checkpoints=checkpoints, tokens_after=tokens_after, on_event=on_event
            )
        result = calibrate(prepared, result)
        self.history_: tuple[EpochEnd, ...] = result.history
        self.best_epoch_ = result.best_epoch
        self.extent_ = result.extent
        details = {"settings": self.get_params(), **(record or {})}
        details["settings"] = {**details["settings"], "num_blocks_kept": result.extent.depth}
        self._become(
            prepared.loaded,
            ModelRecord(
                max_length=prepared.max_length,
                fix_text=self.fix_text,
                prompt=self.prompt,
                model=self.model,
                reading_path=prepared.loaded.classifier.proof.path,
                data_fingerprint=prepared.data_fingerprint,
                versions=package_versions(),
                temperature=result.decisions.temperature,
                coverage_levels=[asdict(level) for level in result.decisions.coverage_levels],
                thresholds=result.decisions.thresholds,
                **details,
            ),
        )
        return result

    def predict(self, texts: Iterable[Any]) -> NDArray[Any]:
        """Return the most probable label of each text, (N,), of the type given to `fit`."""
        best = self.predict_proba(texts).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, texts: Iterable[Any]) -> NDArray[np.float64]:
        """Return probabilities, (N, C) float64, columns in the order of `classes_`.

        Raises:
            NotFittedError: neither `fit` nor `from_pretrained` came before.
            DatasetError: a text is missing or no string.
        """
        self._fitted()
        examples = examples_from_python(texts)
        chunks = [np.zeros((0, len(self.classes_)))]
        for start in range(0, len(examples), TEXTS_PER_CHUNK):
            chunk = examples[start : start + TEXTS_PER_CHUNK]
            logits = self.predict_logits(self.tokenize([example.text for example in chunk]))
            chunks.append(self.probs(logits))
        return np.concatenate(chunks)[:, self._sorted_ids]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a model folder that any Hugging Face program reads.

        Raises:
            NotFittedError: there is nothing to save.
            RunError: the folder exists and is not empty.
        """
        loaded = self._fitted()
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
        self.loaded_: LoadedModel = replace(loaded, record=record, head_is_new=False)
        labels = to_label_type(loaded.classifier.labels.labels, record.label_type)
        # scikit-learn's scorers take sorted columns for granted; the string "10" precedes "9".
        self._sorted_ids = np.argsort(labels, kind="stable")
        self.classes_ = labels[self._sorted_ids]
