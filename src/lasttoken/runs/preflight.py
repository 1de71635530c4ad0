"""What can be told within seconds, before torch is imported: is everything there?"""

from __future__ import annotations

from lasttoken.config import EvaluateConfig, PredictConfig, TrainConfig
from lasttoken.data.files import STDIN, find_path
from lasttoken.data.readers import locate_data
from lasttoken.model.location import model_folder
from lasttoken.model.sources import locate_model
from lasttoken.runs.record import is_finished_run, run_folder, settings_of


def locate_inputs(config: TrainConfig) -> None:
    """Check the output folder, then the data, then the model; read and write nothing.

    Raises:
        LastTokenError: the folder is occupied, a path is missing, or a Hub name cannot be had.
    """
    if is_finished_run(run_folder(config), settings_of(config), overwrite=config.overwrite):
        return
    locate_data(config.data)
    for setting in (config.validation, config.test):
        if not _is_number(setting):
            locate_data(setting)
    locate_model(config.model)


def locate_evaluation(config: EvaluateConfig) -> None:
    """Check the run, then the data; read and write nothing.

    Raises:
        LastTokenError: a path is missing, or a Hub name cannot be had.
    """
    model_folder(config.run)
    locate_data(config.data)


def locate_prediction(config: PredictConfig) -> None:
    """Check the run, then the input; read and write nothing.

    Raises:
        LastTokenError: one of them is missing.
    """
    model_folder(config.run)
    if config.input != STDIN:
        find_path(config.input)


def _is_number(setting: str) -> bool:
    try:
        float(setting)
    except ValueError:
        return False
    return True
