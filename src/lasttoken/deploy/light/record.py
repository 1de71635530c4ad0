"""What an exported folder says of itself.

model.onnx              the graph and its weights, in one file
tokenizer.json          the tokenizer, as the library `tokenizers` reads it
lasttoken-export.json   everything else that a prediction needs, and what was checked
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from lasttoken.data.written import SEPARATOR, LabelKind
from lasttoken.errors import BackboneError
from lasttoken.model.location import EXPORT_RECORD_NAME
from lasttoken.model.reading import Reading

FORMAT = 1
RECORD_NAME = EXPORT_RECORD_NAME
GRAPH_NAME = "model.onnx"
TOKENIZER_NAME = "tokenizer.json"

ExportFormat = Literal["onnx", "onnx-int8"]


@dataclass(frozen=True)
class ExportRecord:
    """What `lasttoken-export.json` holds.

    Attributes:
        labels: C label strings in the order of the logits.
        reading: how texts become tokens.
        end_of_text_id: the token that an empty text becomes.
        kind: of the task, as in `LabelSpec`.
        separator: multi-label: between the labels of a set.
        thresholds: label to the probability from which on it is given, or None.
        temperature: by which logits were divided; the graph contains it already.
        coverage_levels: what thresholds of confidence give; see `evaluation.abstaining.Level`.
        fix_text: whether broken Unicode is repaired first.
        text_column: column of the training data, the first guess at prediction.
        text_pair_column: likewise, of a second text.
        export_format: "onnx" (fp32) or "onnx-int8".
        model: what the run started from.
        source_weights_sha256: over the weights of the model that was exported.
        files_sha256: of the other two files.
        checks: what was compared with the model in torch before the folder was written.
        versions: of the packages it was made with.
        format: number of this form.
    """

    labels: tuple[str, ...]
    reading: Reading
    end_of_text_id: int
    kind: LabelKind = "single_label"
    separator: str = SEPARATOR
    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    temperature: float = 1.0
    coverage_levels: Sequence[Mapping[str, float]] = ()
    fix_text: bool = False
    text_column: str | None = None
    text_pair_column: str | None = None
    export_format: ExportFormat = "onnx"
    model: str = ""
    source_weights_sha256: str = ""
    files_sha256: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> bytes:
        """Return the content of the file."""
        content = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)
        return (content + "\n").encode("utf-8", "surrogatepass")


def read_export(folder: Path) -> ExportRecord:
    """Return the record of an exported folder, whose two other files are the ones it names.

    Raises:
        BackboneError: a file is missing, damaged or another one, or the record is of a newer form.
    """
    path = folder / RECORD_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
        number = int(content.get("format", FORMAT))
        record = _from_json(content) if number <= FORMAT else None
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as error:
        raise BackboneError(
            f"{path}: {_reason(error)}",
            expected=f"the record of an exported model, format {FORMAT}",
            remedy="export the run again: lasttoken export RUN",
        ) from error
    if record is None:
        raise BackboneError(
            f"{path}: format {number}",
            expected=f"format {FORMAT} or older",
            remedy="pip install --upgrade lasttoken",
        )
    for name in (GRAPH_NAME, TOKENIZER_NAME):
        _check_file(folder / name, record.files_sha256[name])
    return record


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no field {error}"
    return str(getattr(error, "strerror", None) or error)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_json(content: Any) -> ExportRecord:  # noqa: ANN401 - whatever a file holds
    """Return the record.

    Raises:
        ValueError: a value is of another type or out of its range.
        TypeError: likewise.
        KeyError: one is missing.
    """
    known = {f.name for f in dataclasses.fields(ExportRecord)}
    values = {key: value for key, value in dict(content).items() if key in known}
    values["reading"] = Reading.from_json(values["reading"])
    labels = values["labels"]
    if not isinstance(labels, list) or not labels or not all(isinstance(e, str) for e in labels):
        raise ValueError(f"labels {str(labels)[:80]!r} is no list of strings")
    values["labels"] = tuple(labels)
    record = ExportRecord(**values)
    if record.kind not in get_args(LabelKind):
        raise ValueError(f"kind {record.kind!r} is unknown")
    if type(record.end_of_text_id) is not int or record.end_of_text_id < 0:
        raise ValueError(f"end_of_text_id {record.end_of_text_id!r} is no token id")
    is_number = isinstance(record.temperature, int | float)
    if not is_number or not 0 < record.temperature < math.inf:
        raise ValueError(f"temperature {record.temperature!r} is no number above 0")
    for label, least in dict(record.thresholds).items():
        if label not in labels or not (least is None or isinstance(least, int | float)):
            raise ValueError(f"thresholds: {label!r}: {least!r} is no probability of a label")
    for name, types in (
        ("separator", str),
        ("fix_text", bool),
        ("text_column", str | None),
        ("text_pair_column", str | None),
        ("files_sha256", dict),
    ):
        if not isinstance(getattr(record, name), types):
            raise ValueError(f"{name} is {str(getattr(record, name))[:80]!r}")
    for name in (GRAPH_NAME, TOKENIZER_NAME):
        if name not in record.files_sha256:
            raise KeyError(f"files_sha256 has no {name}")
    return record


def _check_file(path: Path, expected: str) -> None:
    try:
        found = file_sha256(path)
    except OSError as error:
        raise BackboneError(
            f"{path}: {error.strerror or error}",
            expected="the files that lasttoken export wrote, side by side",
            remedy="copy the whole folder again, or export the run again",
        ) from error
    if found != expected:
        raise BackboneError(
            f"{path}: sha256 {found[:16]}..., the record says {str(expected)[:16]}...",
            expected="the very file that was checked when it was exported",
            remedy="copy the whole folder again, or export the run again",
        )
