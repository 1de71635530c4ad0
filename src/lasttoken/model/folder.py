"""The model folder: everything needed to predict, in the form every Hugging Face program reads.

    config.json  model.safetensors  tokenizer.json  tokenizer_config.json    plain Hugging Face
    lasttoken.json                                                           what is ours beside it

`lasttoken.json` is optional: a classifier of a decoder trained by anyone loads as well.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lasttoken.data.labels import LabelSpec
from lasttoken.data.tasks import name_of
from lasttoken.durable import place, refuse_occupied, telling
from lasttoken.errors import BackboneError
from lasttoken.model.backbone import (
    load_hf_model,
    load_tokenizer,
    refuse_foreign_tokenizer,
    token_limit,
)
from lasttoken.model.classifier import Classifier
from lasttoken.model.frame import check_frame, plain_reading, remove_frame
from lasttoken.model.inspection import inspect_folder
from lasttoken.model.location import model_folder
from lasttoken.model.proof import choose_path
from lasttoken.model.quiet import quiet_transformers
from lasttoken.model.record import (
    RECORD_NAME,
    ModelRecord,
    as_recorded,
    read_labels,
    read_record,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class LoadedModel:
    """A classifier with what it needs to read texts.

    Attributes:
        classifier: on the CPU, fp32, in evaluation mode.
        tokenizer: pads on the left; before training, as it came with the model; puts around texts
            what the record's reading says otherwise.
        token_limit: the longest text in tokens that the backbone can read.
        record: what the folder says about its making.
        head_is_new: True if the head was newly drawn and must be trained.
    """

    classifier: Classifier
    tokenizer: PreTrainedTokenizerBase
    token_limit: int
    record: ModelRecord
    head_is_new: bool


def load_for_training(folder: Path, labels: LabelSpec, *, seed: int) -> LoadedModel:
    """Load a decoder with a head for `labels`; a head that has these labels already is kept.

    Of a regression, the head is divided by the scale of `labels` as the targets are.

    Raises:
        BackboneError: the folder holds no decoder that can be loaded safely.
    """
    inspect_folder(folder)
    known = read_labels(folder)
    is_alike = known is not None and set(known.labels) == set(labels.labels)
    if known is not None and is_alike and labels.kind != "ordinal":  # whose order has a meaning
        labels = replace(labels, labels=known.labels)  # a loaded folder keeps its own order
    loaded = _load(folder, labels, seed, read_record(folder))
    if not loaded.head_is_new:
        loaded.classifier.divide_logits(labels.scale)
    return loaded


def load_for_prediction(path: str | Path) -> LoadedModel:
    """Load a finished classifier from a run folder or any plain model folder.

    Raises:
        RunError: there is no model at `path`.
        BackboneError: it cannot be loaded safely, or has no trained head with labels.
    """
    folder = model_folder(path)
    inspect_folder(folder)
    labels, record = read_labels(folder), read_record(folder)
    if labels is not None and record is not None:
        labels = as_recorded(labels, record, folder / RECORD_NAME)
    loaded = _load(folder, labels, 0, record, keeps_frame=True) if labels is not None else None
    if loaded is None or loaded.head_is_new:
        raise BackboneError(
            f"{folder}: a language model without a trained classification head",
            expected="a folder made by lasttoken train, or another sequence-classification model",
            remedy=f"train one first: lasttoken train DATA --model {path}",
        )
    return loaded


def save_model_folder(
    folder: Path,
    classifier: Classifier,
    tokenizer: PreTrainedTokenizerBase,
    record: ModelRecord,
) -> None:
    """Write a model folder; it appears complete or not at all.

    Saved tokenizers pad on the right, because other programs pass no positions, and carry the
    run's `max_length` as `model_max_length`. The record tells the task of the classifier.

    Raises:
        RunError: `folder` exists and is not empty, or it cannot be written.
    """
    refuse_occupied(folder)
    with telling(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    labels = classifier.labels
    record = replace(record, task=name_of(labels.kind), label_separator=labels.separator)
    before = tokenizer.padding_side, tokenizer.model_max_length
    try:
        tokenizer.padding_side, tokenizer.model_max_length = "right", record.reading.max_length
        with telling(folder), quiet_transformers():
            try:
                classifier.hf_model.save_pretrained(unfinished)
                tokenizer.save_pretrained(unfinished)
            except OSError:
                raise
            except Exception as error:  # how these libraries pass on what the system refuses
                raise OSError(str(error)) from error
        content = json.dumps(
            dataclasses.asdict(record),
            indent=2,
            ensure_ascii=False,
            default=lambda number: number.item(),  # numpy's, from a grid search
        )
        with telling(folder):
            (unfinished / RECORD_NAME).write_text(content + "\n", encoding="utf-8")
            open_to_umask(unfinished)
            if folder.is_dir():
                folder.rmdir()
            place(unfinished, folder)
    finally:
        tokenizer.padding_side, tokenizer.model_max_length = before
        shutil.rmtree(unfinished, ignore_errors=True)


def _load(
    folder: Path,
    labels: LabelSpec,
    seed: int,
    own_record: ModelRecord | None,
    *,
    keeps_frame: bool = False,
) -> LoadedModel:
    tokenizer = load_tokenizer(folder)
    model, head_is_new = load_hf_model(
        folder, labels, pad_token_id=int(tokenizer.pad_token_id), seed=seed
    )
    refuse_foreign_tokenizer(folder, model, tokenizer)
    limit = token_limit(model.config, tokenizer, is_ours=own_record is not None)
    tokenizer.model_max_length = limit
    proof = choose_path(model)
    classifier = Classifier(model, labels, proof).eval()
    plain = plain_reading(tokenizer, limit)
    record = own_record or ModelRecord(plain, task=name_of(labels.kind))
    if keeps_frame:
        check_frame(tokenizer, record.reading, folder)
        tokenizer.truncation_side = record.reading.truncation_side
    else:
        remove_frame(tokenizer, record.reading)
        record = replace(record, reading=plain_reading(tokenizer, limit))
    return LoadedModel(classifier, tokenizer, limit, record, head_is_new)


def open_to_umask(folder: Path) -> None:
    """Give files the mode of any new file: save_pretrained and mkdtemp make them private."""
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
