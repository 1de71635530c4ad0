"""The commands that take classifiers out of the house, and work with them there."""

from __future__ import annotations

from collections.abc import Sequence

from lasttoken.cli.results import export_text, prediction_text
from lasttoken.cli.screen import Screen
from lasttoken.config import ExportConfig, PredictConfig


def run_export_command(config: ExportConfig, screen: Screen, command: Sequence[str]) -> int:
    """Export a run, and show how it compares."""
    del command
    from lasttoken.deploy.export.output import export_folder
    from lasttoken.runs.preflight import locate_export

    locate_export(config)
    export_folder(config)
    screen.start()
    from lasttoken.deploy.export.run import run_export

    outcome = run_export(config, on_event=screen)
    screen.show(export_text(outcome.folder, outcome.export_format, outcome.checks))
    return 0


def predict_exported(config: PredictConfig, screen: Screen) -> int:
    """Classify a file with an exported model."""
    from lasttoken.deploy.light.predict import run_light_prediction

    outcome = run_light_prediction(config, on_event=screen)
    counts = (outcome.num_texts, outcome.num_truncated, outcome.num_abstained)
    screen.say(prediction_text(*counts, config.output))
    return 0
