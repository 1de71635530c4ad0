"""An exported folder, opened to answer as a run does, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lasttoken.deploy.light.classifier import LightClassifier
from lasttoken.deploy.light.record import GRAPH_NAME, ExportFormat
from lasttoken.errors import ConfigError
from lasttoken.events import EventCallback, Note
from lasttoken.runs.row_classifier import ModelSettings, OpenedModel

_PRECISION: Mapping[ExportFormat, str] = {"onnx": "fp32", "onnx-int8": "int8"}


def open_export(config: ModelSettings, on_event: EventCallback) -> OpenedModel:
    """Load an exported model.

    Args:
        config: names the folder; precision and device are settled by the export.
        on_event: told what it is.

    Raises:
        ConfigError: a flag asks for something else than the export has settled, or onnxruntime is
            missing.
        BackboneError: the folder is not as it was written.
    """
    _check_settled(config, "--device", config.device, ("auto", "cpu"))
    classifier = LightClassifier.from_folder(config.run)
    record = classifier.record
    precision = _PRECISION[record.export_format]
    _check_settled(config, "--precision", config.precision, ("auto", precision))
    on_event(Note(f"an exported model ({record.export_format}) of {record.model or 'a folder'}"))
    context = {
        "weights": record.files_sha256[GRAPH_NAME],
        "precision": precision,
        "device": "cpu",
        "reading_path": "onnxruntime",
        "threads": str(classifier.num_threads),
    }
    return OpenedModel(classifier, record, record, classifier.tokenizer, context)


def _check_settled(config: ModelSettings, flag: str, value: str, settled: tuple[str, ...]) -> None:
    if value not in settled:
        raise ConfigError(
            f"{flag} {value} with an exported model ({Path(config.run).name})",
            expected="the precision it was exported with, on the CPU",
            remedy=f"leave {flag} out, or take the run itself",
        )
