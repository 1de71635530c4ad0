"""The user's object: a scikit-learn estimator around a decoder that reads the last token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from sklearn.base import ClassifierMixin
from sklearn.utils import RegressorTags

from lasttoken.config.tasks import check_task
from lasttoken.data.examples import Example, check_labeled, examples_from_python
from lasttoken.data.python_labels import read_labels_given
from lasttoken.data.splits import set_aside
from lasttoken.data.tasks import Task, kind_of, name_of
from lasttoken.data.unicode import check_unicode
from lasttoken.errors import ConfigError
from lasttoken.events import EpochEnd, EventCallback, ignore
from lasttoken.inference.answering import Answerer
from lasttoken.model.adapter_folder import save_adapter_folder
from lasttoken.model.device import resolve_device, resolve_precision
from lasttoken.model.folder import (
    LoadedModel,
    load_for_prediction,
    save_model_folder,
)
from lasttoken.model.record import ModelRecord
from lasttoken.training.calibrating import calibrate
from lasttoken.training.defaults import default_batch_size, default_num_epochs
from lasttoken.training.fit import fit as fit_classifier
from lasttoken.training.parameters import Parameters
from lasttoken.training.preparation import PreparedTraining, prepare_training
from lasttoken.training.saver import CheckpointSettings
from lasttoken.training.state import FitResult, FitSettings
from lasttoken.versions import package_versions


class TextClassifier(Answerer, ClassifierMixin, Parameters):
    """Classify texts by a decoder's hidden state at the last token.

    Probabilities are calibrated on the validation texts by temperature scaling; the temperature
    is part of the head, so that a saved model gives the same ones everywhere.

    Args:
        model: Hub id, local folder, .gguf file or sample name ("smollm2").
        task: "single-label"; "multi-label", where a text has any number of labels; "ordinal", whose
            labels have an order; or "regression", which predicts a number.
        label_separator: between the labels of a set where sets are written, as in saved records;
            no label may contain it.
        label_order: of an ordinal task, from the lowest label to the highest; None orders numbers.
        num_epochs: passes over the training examples; None: by their number (`training.defaults`).
        batch_size: examples of one batch; None: likewise.
        gradient_accumulation_steps: batches added up before an optimizer step.
        learning_rate: peak rate of AdamW; None: by the model's width and by what learns.
        weight_decay: decoupled decay of matrices.
        warmup_fraction: share of steps that warm up linearly, 0 to below 1.
        max_grad_norm: the gradient's norm is clipped at this.
        early_stopping_patience: epochs without a better one before training stops; None never.
        validation_fraction: share of the texts given to `fit` that choose the epoch to keep.
        trainable: "full"; "last-3" (the last 3 blocks, the final norm and the head learn); "lora"
            (small adapters beside all blocks learn, and the head); or "probe" (the head alone,
            fitted in one pass).
        lora_rank: rank of the adapters.
        lora_alpha: what adapters give is multiplied by lora_alpha / lora_rank.
        lora_dropout: dropout of what adapters read.
        class_weights: how much examples of a label count: "none"; "balanced" (rare ones more); or
            label to weight, 1 where none is given. Of sets: how much a label's presence counts.
        focal_gamma: of focal loss: the larger, the less count well predicted examples; 0 is none.
        sampling: examples of an epoch: "all", or "balanced": as many of each label.
        layer_decay: each block learns at the rate of the one above it times this, 0 to 1.
        gradient_checkpointing: compute blocks anew in the backward pass: less memory, more time.
        depth: keep the first so many blocks; "auto" chooses by cross-validated probes of all
            blocks; None keeps all, and so does "all".
        max_length: tokens that are read at once; None is the model's limit.
        template: words around every text, "Review: {text} Good?", say; for pairs {text_pair} too.
        long: "cut-end", "cut-start" or "cut-middle" of longer texts, or read all in "windows".
        window_overlap: tokens that two windows share, at least; None is a quarter of a window.
        fix_text: repair broken Unicode with ftfy, in `fit` and at prediction.
        seed: of the validation split, the head, the order and dropout.
        precision: "auto" (bf16 where the device multiplies it natively), "fp32" or "bf16".
        device: "auto", "cpu", "cuda" ...

    Attributes:
        classes_: (C,) the labels, sorted, of the type given to `fit`.
        history_: one `EpochEnd` an epoch.
        extent_: blocks and weights that were kept and trained, and the probe table if one was made.
        adapter_: what the adapters of trainable="lora" learned; the model contains it. Else None.
        kept_epoch_: the epoch whose weights are kept, counted from 1; 0 is the start.
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
            texts: N strings: a list, array, Series or `datasets` column; or pairs of strings; or
                mappings with "text", for pairs "text_pair", and "label".
            labels: N labels (str, int or bool); None if the texts carry them. Multi-label: N sets,
                lists or tuples of labels, or an array (N, C) of 0 and 1. Regression: N numbers.
            validation: texts and labels that choose the epoch to keep; None sets a stratified
                fraction of the given texts aside.
            on_event: hears progress and results.

        Raises:
            LastTokenError: a text, label, setting or the model is not as described.
        """
        given = read_labels_given(labels, self._task())
        task = given.task
        train = examples_from_python(texts, given.values, task=task)
        check_labeled(train)
        if validation is not None:
            val_texts, val_labels = validation
            others = read_labels_given(val_labels, task).values
            validating = examples_from_python(val_texts, others, task=task)
        else:
            task.spec(str(example.label) for example in train)  # told before sizes
            fractions = {"validation": self.validation_fraction}
            parts = set_aside(train, fractions, self.seed, on_event, task)
            train, validating = parts["train"], parts["validation"]
        train, validating = (
            check_unicode(examples, fix=self.fix_text, on_event=on_event)
            for examples in (train, validating)
        )
        prepared = self.prepare(train, validating, task=task, on_event=on_event)
        self.train(prepared, record={"label_type": given.type}, on_event=on_event)
        return self

    def prepare(
        self,
        train: Sequence[Example],
        validating: Sequence[Example],
        *,
        task: Task | None = None,
        on_event: EventCallback = ignore,
    ) -> PreparedTraining:
        """Load the model and tokenize the examples; change nothing yet.

        Args:
            train: labeled examples to learn from.
            validating: labeled examples that choose the epoch to keep.
            task: what the labels mean; None is what the parameters say.
            on_event: hears progress and what was decided.

        Raises:
            LastTokenError: the model cannot be had, or a setting does not fit it.
        """
        device = resolve_device(self.device)
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(FitSettings)}
        values |= {"device": device, "precision": resolve_precision(self.precision, device)}
        if values["num_epochs"] is None:
            values["num_epochs"] = default_num_epochs(len(train))
        if values["batch_size"] is None:
            values["batch_size"] = default_batch_size(len(train))
        settings = FitSettings(**values)
        return prepare_training(
            self.model,
            train,
            validating,
            settings,
            max_length=self.max_length,
            template=self.template,
            long=self.long,
            window_overlap=self.window_overlap,
            task=task or self._task(),
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
        self.kept_epoch_ = result.kept_epoch
        self.extent_ = result.extent
        self.adapter_ = result.adapter
        details = {"settings": self.plain_params(), **(record or {})}
        details["settings"] = {**details["settings"], "num_blocks_kept": result.extent.depth}
        labels = prepared.loaded.classifier.labels
        self._become(
            prepared.loaded,
            ModelRecord(
                prepared.reading,
                fix_text=self.fix_text,
                task=name_of(labels.kind),
                label_separator=labels.separator,
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

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a model folder that any Hugging Face program reads.

        Raises:
            NotFittedError: there is nothing to save.
            RunError: the folder exists and is not empty.
        """
        loaded = self._fitted()
        save_model_folder(Path(folder), loaded.classifier, loaded.tokenizer, loaded.record)

    def save_adapter(self, folder: str | Path) -> None:
        """Write what the adapters of `trainable="lora"` learned, and the head, as peft reads it.

        Raises:
            NotFittedError: there is nothing to save.
            ConfigError: no adapters were trained.
            RunError: the folder exists and is not empty.
        """
        loaded = self._fitted()
        adapter = getattr(self, "adapter_", None)
        if adapter is None:
            raise ConfigError(
                "save_adapter: this classifier has no adapter",
                expected="one that was trained with adapters, in this process",
                remedy='TextClassifier(trainable="lora").fit(texts, labels), or save_pretrained',
            )
        save_adapter_folder(Path(folder), adapter, loaded.classifier, name=self.model)

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
        labels = loaded.classifier.labels
        saved |= {"task": name_of(labels.kind), "label_separator": labels.separator}
        saved["label_order"] = saved.get("label_order") and list(labels.labels)  # maybe one string
        classifier = cls(**{**saved, "precision": precision, "device": device})
        classifier._become(loaded, loaded.record)
        return classifier

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 - scikit-learn has no types
        """Tell scikit-learn that the input is a sequence of strings."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.multi_output = self.task == "multi-label"
        tags.classifier_tags.multi_label = self.task == "multi-label"
        if self.task == "regression":
            tags.estimator_type = "regressor"
            tags.classifier_tags, tags.regressor_tags = None, RegressorTags()
        return tags

    def _task(self) -> Task:
        order = None if self.label_order is None else tuple(map(str, self.label_order))
        shown = None if order is None else ",".join(order)
        check_task(self.task, self.label_separator, None, shown)
        return Task(kind_of(self.task), self.label_separator, order)

    def _become(self, loaded: LoadedModel, record: ModelRecord) -> None:
        self.loaded_: LoadedModel = replace(loaded, record=record, head_is_new=False)
        self._order_classes()
