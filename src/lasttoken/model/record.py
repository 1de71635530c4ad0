"""What a model folder says of itself: labels in `config.json`, and all that is ours beside it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from lasttoken.data.labels import LabelSpec
from lasttoken.data.tasks import kind_of, name_of
from lasttoken.data.written import SEPARATOR, LabelKind, LabelType
from lasttoken.errors import BackboneError
from lasttoken.model.reading import Reading

FORMAT = 2
RECORD_NAME = "lasttoken.json"

_KINDS: dict[str, LabelKind] = {
    "multi_label_classification": "multi_label",
    "regression": "regression",
}
_SEPARATORS = (SEPARATOR, ";", ",", "\t", "\x1f")


@dataclass(frozen=True)
class ModelRecord:
    """What `lasttoken.json` holds.

    Attributes:
        reading: how texts became tokens in training, and do at prediction.
        fix_text: whether broken Unicode was repaired in training, and is at prediction.
        task: "single-label", "multi-label", "ordinal" or "regression".
        label_separator: multi-label: between the labels of a set.
        label_columns: multi-label: columns of 0 and 1 of the training data, one a label, if they
            held the labels.
        label_type: Python type of the labels given to `fit`.
        text_column: column of the training data, the first guess at prediction.
        label_column: likewise.
        text_pair_column: likewise, of a second text.
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

    reading: Reading
    fix_text: bool = False
    task: str = "single-label"
    label_separator: str = SEPARATOR
    label_columns: Sequence[str] = ()
    label_type: LabelType = "str"
    text_column: str | None = None
    label_column: str | None = None
    text_pair_column: str | None = None
    model: str = ""
    reading_path: str = "packed"
    temperature: float = 1.0
    coverage_levels: Sequence[Mapping[str, float]] = ()
    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    data_fingerprint: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT


def read_labels(folder: Path) -> LabelSpec | None:
    """Return the labels of a folder that holds a classifier already, else None.

    The kind is what `problem_type` says; ordinal labels look like any others.

    Raises:
        BackboneError: config.json cannot be read so, or describes a regression of many numbers.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architectures = config.get("architectures") or []
    try:
        is_classifier = any(str(name).endswith("SequenceClassification") for name in architectures)
        if not is_classifier:
            return None
        # Transformers saves no names that are its own.
        id2label = config.get("id2label") or {
            str(label_id): f"LABEL_{label_id}" for label_id in range(config.get("num_labels", 2))
        }
        labels = tuple(str(id2label[key]) for key in sorted(id2label, key=int))
    except (TypeError, ValueError, KeyError) as error:
        raise BackboneError(
            f"{folder}: config.json: architectures or id2label cannot be read: {error}",
            expected='"architectures": [name], "id2label": {"0": label, "1": label ...}',
            remedy="fetch or save the model again",
        ) from error
    # Transformers' own rule: a head of one logit that names no task is a regression.
    default = "regression" if len(labels) == 1 else "single_label_classification"
    problem_type = config.get("problem_type") or default
    if problem_type == "regression" and len(labels) > 1:
        raise BackboneError(
            f"{folder}: config.json: a regression of {len(labels)} numbers",
            expected="a regression of one number, or a classifier",
            remedy="another model",
        )
    kind = _KINDS.get(problem_type, "single_label")
    # Sets are written with the first separator that no label contains.
    free = (each for each in _SEPARATORS if not any(each in label for label in labels))
    return LabelSpec(labels, kind, next(free, SEPARATOR) if kind == "multi_label" else SEPARATOR)


def as_recorded(labels: LabelSpec, record: ModelRecord, path: Path) -> LabelSpec:
    """Return the labels of config.json with what only our record tells of them.

    Raises:
        BackboneError: the two are about different tasks, or a threshold is of an unknown label.
    """
    spec = replace(labels, kind=kind_of(record.task), separator=record.label_separator)
    if spec.problem_type != labels.problem_type:
        raise BackboneError(
            f"{path}: task {record.task!r}, but problem_type of config.json is "
            f"{labels.problem_type!r}",
            expected="two files of one model",
            remedy=f"restore them, or remove {RECORD_NAME}",
        )
    unknown = sorted(set(record.thresholds) - set(labels.labels))
    if unknown:
        raise BackboneError(
            f"{path}: a threshold for {unknown[0]!r}, which is no label of the model",
            expected="thresholds for " + ", ".join(map(repr, labels.labels[:10])),
            remedy=f"mend the label in {RECORD_NAME}, or take the threshold out",
        )
    return spec


def read_record(folder: Path) -> ModelRecord | None:
    """Return what `lasttoken.json` of a model folder says; None if there is none.

    Raises:
        BackboneError: it is damaged, or of a newer form.
    """
    path = folder / RECORD_NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = {f.name for f in dataclasses.fields(ModelRecord)}
        number = int(content.get("format", FORMAT))
        if number < FORMAT:
            raise ValueError(f"format {number}, of an older lasttoken")
        reading = Reading.from_json(content.pop("reading"))
        record = ModelRecord(reading, **{key: content[key] for key in content if key in known})
        is_newer = number > FORMAT
        _check_record(record)
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as error:
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
    if not isinstance(record.temperature, int | float) or not 0 < record.temperature < math.inf:
        raise ValueError(f"temperature {record.temperature!r} is no number above 0")
    if record.task not in map(name_of, get_args(LabelKind)):
        raise ValueError(f"task {record.task!r} is unknown")
    for name, kind in (
        ("label_separator", str),
        ("thresholds", Mapping),
        ("fix_text", bool),
        ("settings", Mapping),
    ):
        if not isinstance(getattr(record, name), kind):
            raise ValueError(f"{name} {getattr(record, name)!r} is no {kind.__name__}")
