"""An exported folder, opened to answer as a run does, without torch."""

from __future__ import annotations

from pathlib import Path

from lasttoken.config import PredictConfig
from lasttoken.deploy.light.classifier import LightClassifier
from lasttoken.deploy.light.record import GRAPH_NAME
from lasttoken.errors import ConfigError
from lasttoken.events import EventCallback, Note
from lasttoken.runs.row_classifier import OpenedModel


def open_export(config: PredictConfig, on_event: EventCallback) -> OpenedModel:
    """Load an exported model.

    Args:
        config: names the folder; precision and device are settled by the export.
        on_event: told what it is.

    Raises:
        ConfigError: a flag chooses what the export has settled, or onnxruntime is missing.
        BackboneError: the folder is not as it was written.
    """
    for flag, value, settled in (
        ("--precision", config.precision, ("auto",)),
        ("--device", config.device, ("auto", "cpu")),
    ):
        if value not in settled:
            raise ConfigError(
                f"{flag} {value} with an exported model ({Path(config.run).name})",
                expected="the precision it was exported with, on the CPU",
                remedy=f"leave {flag} out, or predict with the run itself",
            )
    classifier = LightClassifier.from_folder(config.run)
    record = classifier.record
    on_event(Note(f"an exported model ({record.export_format}) of {record.model or 'a folder'}"))
    context = {
        "weights": record.files_sha256[GRAPH_NAME],
        "precision": record.export_format,
        "device": "cpu",
        "reading_path": "onnxruntime",
        "threads": str(classifier.num_threads),
    }
    return OpenedModel(classifier, record, record, context)
