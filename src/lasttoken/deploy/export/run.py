"""`lasttoken export`: a run as one ONNX file, its tokenizer and a record; or a refusal."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lasttoken.config import ExportConfig
from lasttoken.data.tasks import name_of
from lasttoken.deploy.export.comparison import FEW_TEXTS, compare, expected_of, faults_of
from lasttoken.deploy.export.graph import LARGEST_FILE, refuse_too_large, trace
from lasttoken.deploy.export.int8 import to_int8
from lasttoken.deploy.export.output import PACKAGES, export_folder
from lasttoken.deploy.export.texts import read_check_texts
from lasttoken.deploy.light.classifier import LightClassifier
from lasttoken.deploy.light.record import (
    GRAPH_NAME,
    RECORD_NAME,
    TOKENIZER_NAME,
    ExportRecord,
    file_sha256,
)
from lasttoken.durable import folder_beside, replace_folder, telling
from lasttoken.errors import BackboneError, ConfigError, RunError
from lasttoken.estimator import TextClassifier
from lasttoken.events import EventCallback, Note, Progress
from lasttoken.model.folder import LoadedModel
from lasttoken.model.location import model_folder
from lasttoken.model.plain import load_plain, refuse_other_families
from lasttoken.runs.facts import weights_sha256
from lasttoken.versions import package_versions

if TYPE_CHECKING:
    from onnx import ModelProto

_STEPS = 4  # trace, write, load, compare: what progress counts


@dataclass(frozen=True)
class ExportOutcome:
    """What an export wrote.

    Attributes:
        folder: of the exported model.
        export_format: "onnx" or "onnx-int8".
        checks: what was compared, as `comparison.Comparison` names it.
    """

    folder: Path
    export_format: str
    checks: Mapping[str, Any]


def run_export(config: ExportConfig, *, on_event: EventCallback) -> ExportOutcome:
    """Export a classifier, compare it with the model in torch, and write it if they agree.

    Raises:
        LastTokenError: the run, the data or the output is not as described; the model is of a
            family that cannot be exported; or the two do not agree: then nothing is written.
    """
    target = export_folder(config)
    folder = model_folder(config.run)
    classifier = TextClassifier.from_pretrained(config.run, precision="fp32", device="cpu")
    loaded: LoadedModel = classifier.loaded_
    labels = loaded.classifier.labels
    refuse_other_families(loaded.classifier.hf_model.config, folder)
    as_int8 = config.format == "onnx-int8"
    if as_int8 and labels.kind == "regression":
        raise ConfigError(
            f"--format onnx-int8 with a model of task {name_of(labels.kind)}",
            expected="a model of labels, whose agreement can be counted",
            remedy="--format onnx",
        )
    num_weights = sum(weight.numel() for weight in loaded.classifier.hf_model.parameters())
    refuse_too_large(num_weights, as_int8=as_int8)
    checked = read_check_texts(config, classifier, on_event)
    if len(checked.texts) < FEW_TEXTS:
        text = f"only {len(checked.texts)} texts to compare on ({checked.source}): little is proved"
        on_event(Note(text, is_warning=True))
    graph = _graph(folder, loaded, as_int8=as_int8, on_event=on_event)
    record = _record(loaded, config)
    with telling(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = folder_beside(target)
        unfinished.mkdir()
    try:
        with telling(target):
            record = _write(unfinished, graph, loaded, record)
        del graph
        _tell(on_event, 3)
        exported = LightClassifier.from_folder(unfinished)
        num_bytes = (unfinished / GRAPH_NAME).stat().st_size
        found = compare(classifier, exported, checked, exported_bytes=num_bytes, on_event=on_event)
        _tell(on_event, 4)
        faults = faults_of(found, config.format)
        if faults:
            raise RunError(
                f"the exported model is not the model, nothing was written: {'; '.join(faults)} "
                f"({found.num_texts:,} texts: {found.texts})",
                expected=expected_of(config.format),
                remedy="--format onnx, or --limit to compare on more texts"
                if as_int8
                else "predict with the run itself",
            )
        with telling(target):
            record = replace(record, checks=found.to_dict())
            (unfinished / RECORD_NAME).write_bytes(record.to_json())
            replace_folder(unfinished, export_folder(config))  # minutes later, so asked again
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return ExportOutcome(target, config.format, found.to_dict())


def _graph(
    folder: Path, loaded: LoadedModel, *, as_int8: bool, on_event: EventCallback
) -> ModelProto:
    _tell(on_event, 0)
    plain = load_plain(
        folder, loaded.classifier.labels, pad_token_id=int(loaded.tokenizer.pad_token_id)
    )
    graph = trace(plain, loaded.record.reading.max_length)
    _tell(on_event, 1)
    return to_int8(graph) if as_int8 else graph


def _record(loaded: LoadedModel, config: ExportConfig) -> ExportRecord:
    labels, record = loaded.classifier.labels, loaded.record
    return ExportRecord(
        labels=labels.labels,
        reading=replace(record.reading, replaced={}),
        end_of_text_id=int(loaded.tokenizer.eos_token_id),
        kind=labels.kind,
        separator=labels.separator,
        thresholds=dict(record.thresholds),
        temperature=record.temperature,
        coverage_levels=[dict(level) for level in record.coverage_levels],
        fix_text=record.fix_text,
        text_column=record.text_column,
        text_pair_column=record.text_pair_column,
        export_format=config.format,
        model=record.model,
        source_weights_sha256=weights_sha256(loaded.classifier.hf_model),
        versions={**package_versions(), **{name: metadata.version(name) for name in PACKAGES}},
    )


def _write(
    folder: Path, graph: ModelProto, loaded: LoadedModel, record: ExportRecord
) -> ExportRecord:
    """Write graph, tokenizer and record; return the record with their hashes.

    Raises:
        BackboneError: the graph is too large for one file, or the tokenizer has no such form.
        OSError: as the system says.
    """
    try:
        content = graph.SerializeToString()
    except ValueError as error:  # as protobuf tells that it is beyond 2 GB
        raise BackboneError(
            f"the graph does not fit into one file: {error}",
            expected=f"at most {LARGEST_FILE:,} bytes",
            remedy="--format onnx-int8, or a smaller model",
        ) from error
    (folder / GRAPH_NAME).write_bytes(content)
    (folder / TOKENIZER_NAME).write_bytes(_tokenizer_json(loaded))
    hashes = {name: file_sha256(folder / name) for name in (GRAPH_NAME, TOKENIZER_NAME)}
    record = replace(record, files_sha256=hashes)
    (folder / RECORD_NAME).write_bytes(record.to_json())
    return record


def _tokenizer_json(loaded: LoadedModel) -> bytes:
    """Return the tokenizer as it reads texts now: frame and all, without cutting or padding."""
    from tokenizers import Tokenizer

    own = getattr(loaded.tokenizer, "backend_tokenizer", None)
    if own is None:
        raise BackboneError(
            f"a tokenizer of type {type(loaded.tokenizer).__name__}, which is slow",
            expected="a fast tokenizer, which tokenizer.json can hold",
            remedy="another --model, or convert its tokenizer with transformers",
        )
    copied = Tokenizer.from_str(own.to_str())
    copied.no_padding()
    copied.no_truncation()
    return str(copied.to_str()).encode()


def _tell(on_event: EventCallback, step: int) -> None:
    on_event(Progress("export", step, _STEPS, "steps"))
