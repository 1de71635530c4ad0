"""The commands that take classifiers out of the house, and work with them there."""

from __future__ import annotations

from collections.abc import Sequence

from lasttoken.cli.extras import require_extra
from lasttoken.cli.results import export_text, prediction_text
from lasttoken.cli.screen import Screen
from lasttoken.config import ExportConfig, PredictConfig
from lasttoken.config.serving import ServeConfig


def run_export_command(config: ExportConfig, screen: Screen, command: Sequence[str]) -> int:
    """Export a run, and show how it compares."""
    del command
    from lasttoken.deploy.export.output import PACKAGES, export_folder
    from lasttoken.runs.preflight import locate_export

    locate_export(config)
    export_folder(config)
    require_extra("onnx", PACKAGES)
    screen.start()
    from lasttoken.deploy.export.run import run_export

    outcome = run_export(config, on_event=screen)
    screen.show(export_text(outcome.folder, outcome.export_format, outcome.checks))
    return 0


def run_predict_command(config: PredictConfig, screen: Screen, command: Sequence[str]) -> int:
    """Classify files with a run or an exported model, in this process or by a cluster."""
    del command
    from lasttoken.runs.preflight import locate_prediction

    locate_prediction(config)
    if config.engine == "ray":
        require_extra("ray", ("ray",))
        from lasttoken.deploy.ray import run_ray_prediction

        outcome = run_ray_prediction(config, on_event=screen)
    else:
        from lasttoken.deploy.opening import opener_of
        from lasttoken.runs.predict import run_prediction

        outcome = run_prediction(config, opener_of(config.run), on_event=screen)
    counts = (outcome.num_texts, outcome.num_truncated, outcome.num_abstained)
    screen.say(prediction_text(*counts, config.output))  # standard output may hold the rows
    return 0


def run_serve_command(config: ServeConfig, screen: Screen, command: Sequence[str]) -> int:
    """Serve a run or an exported model until a signal ends it; torch is loaded for a run alone."""
    del command
    require_extra("serve", ("fastapi", "uvicorn", "prometheus_client"))
    from lasttoken.deploy.serving.opening import settle_model
    from lasttoken.model.location import is_exported

    settled = settle_model(config)
    if not is_exported(settled.run):
        screen.start()
    from lasttoken.deploy.serving.server import run_server

    return run_server(settled, on_event=screen)
