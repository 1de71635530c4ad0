"""The model folder: everything needed to predict, in the form every Hugging Face program reads.

    config.json  model.safetensors  tokenizer.json  tokenizer_config.json    plain Hugging Face
    lasttoken.json                                                           what is ours beside it

`lasttoken.json` is optional: a classifier of a decoder trained by anyone loads as well.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lasttoken.data.labels import LabelSpec, LabelType
from lasttoken.durable import place_folder, telling
from lasttoken.errors import BackboneError, RunError
from lasttoken.model.backbone import (
    load_hf_model,
    load_tokenizer,
    read_labels,
    refuse_foreign_tokenizer,
    token_limit,
)
from lasttoken.model.classifier import Classifier
from lasttoken.model.inspection import inspect_folder
from lasttoken.model.location import model_folder
from lasttoken.model.proof import choose_path
from lasttoken.model.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = 1
RECORD_NAME = "lasttoken.json"


@dataclass(frozen=True)
class ModelRecord:
    """What `lasttoken.json` holds.

    Attributes:
        max_length: tokens at which texts were cut in training, and are at prediction.
        fix_text: whether broken Unicode was repaired in training, and is at prediction.
        prompt: put in front of every text in training, and at prediction.
        label_type: Python type of the labels given to `fit`.
        text_column: column of the training data, the first guess at prediction.
        label_column: likewise.
        model: what the run started from.
        reading_path: "packed" or "padded".
        temperature: by which logits were divided after training; the head contains it already.
        coverage_levels: what thresholds of confidence give; see `evaluation.abstaining.Level`.
        thresholds: label to the probability of its largest F1 on validation examples, or None.
        data_fingerprint: SHA-256 over the training examples.
        settings: every resolved setting of the run.
        versions: of the packages it was made with.
        format: number of this form.
    """

    max_length: int
    fix_text: bool = False
    prompt: str = ""
    label_type: LabelType = "str"
    text_column: str | None = None
    label_column: str | None = None
    model: str = ""
    reading_path: str = "packed"
    temperature: float = 1.0
    coverage_levels: Sequence[Mapping[str, float]] = ()
    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    data_fingerprint: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True)
class LoadedModel:
    """A classifier with what it needs to read texts.

    Attributes:
        classifier: on the CPU, fp32, in evaluation mode.
        tokenizer: pads on the left.
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

    Raises:
        BackboneError: the folder holds no decoder that can be loaded safely.
    """
    inspect_folder(folder)
    known = read_labels(folder)
    if known is not None and set(known.labels) == set(labels.labels):
        labels = known  # a loaded folder keeps its own order
    return _load(folder, labels, seed)


def load_for_prediction(path: str | Path) -> LoadedModel:
    """Load a finished classifier from a run folder or any plain model folder.

    Raises:
        RunError: there is no model at `path`.
        BackboneError: it cannot be loaded safely, or has no trained head with labels.
    """
    folder = model_folder(path)
    inspect_folder(folder)
    labels = read_labels(folder)
    loaded = _load(folder, labels, seed=0) if labels is not None else None
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
    run's `max_length` as `model_max_length`.

    Raises:
        RunError: `folder` exists and is not empty, or it cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise RunError(
            f"{folder}: already there and not empty",
            expected="a new folder",
            remedy="choose another name, or remove it",
        )
    with telling(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    before = tokenizer.padding_side, tokenizer.model_max_length
    try:
        tokenizer.padding_side, tokenizer.model_max_length = "right", record.max_length
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
            _open_to_umask(unfinished)
            if folder.is_dir():
                folder.rmdir()
            place_folder(unfinished, folder)
    finally:
        tokenizer.padding_side, tokenizer.model_max_length = before
        shutil.rmtree(unfinished, ignore_errors=True)


def _load(folder: Path, labels: LabelSpec, seed: int) -> LoadedModel:
    tokenizer = load_tokenizer(folder)
    model, head_is_new = load_hf_model(
        folder, labels, pad_token_id=int(tokenizer.pad_token_id), seed=seed
    )
    refuse_foreign_tokenizer(folder, model, tokenizer)
    own_record = _read_record(folder)
    limit = token_limit(model.config, tokenizer, is_ours=own_record is not None)
    tokenizer.model_max_length = limit
    proof = choose_path(model)
    classifier = Classifier(model, labels, proof).eval()
    record = own_record or ModelRecord(max_length=limit)
    return LoadedModel(classifier, tokenizer, limit, record, head_is_new)


def _read_record(folder: Path) -> ModelRecord | None:
    path = folder / RECORD_NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = {f.name for f in dataclasses.fields(ModelRecord)}
        record = ModelRecord(**{key: content[key] for key in content if key in known})
        is_newer = int(record.format) > FORMAT
        _check_record(record)
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise BackboneError(
            f"{path}: {error}",
            expected=f"the record of a lasttoken model, format {FORMAT}",
            remedy=f"restore the file; without it, remove {RECORD_NAME} and give --text-column",
        ) from error
    if is_newer:
        raise BackboneError(
            f"{path}: format {record.format}",
            expected=f"format {FORMAT} or older",
            remedy="pip install --upgrade lasttoken",
        )
    return record


def _check_record(record: ModelRecord) -> None:
    """Check what predictions are made with.

    Raises:
        ValueError: a value is of another type or out of its range.
    """
    if not isinstance(record.max_length, int) or record.max_length < 1:
        raise ValueError(f"max_length {record.max_length!r} is no whole number above 0")
    if not isinstance(record.temperature, int | float) or not 0 < record.temperature < math.inf:
        raise ValueError(f"temperature {record.temperature!r} is no number above 0")
    for name, kind in (("prompt", str), ("fix_text", bool), ("settings", Mapping)):
        if not isinstance(getattr(record, name), kind):
            raise ValueError(f"{name} {getattr(record, name)!r} is no {kind.__name__}")


def _open_to_umask(folder: Path) -> None:
    """Give files the mode of any new file: save_pretrained and mkdtemp make them private."""
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
