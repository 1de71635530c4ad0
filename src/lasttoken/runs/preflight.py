"""What can be told within seconds, before torch is imported: is everything there?"""

from __future__ import annotations

from pathlib import Path

from lasttoken.config import (
    DoctorConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    TrainConfig,
    TuneConfig,
)
from lasttoken.data.files import STDIN, find_path
from lasttoken.data.readers import locate_data
from lasttoken.data.writers import check_output
from lasttoken.errors import ConfigError
from lasttoken.launch import process_rank, refuse_sharding
from lasttoken.model.location import is_exported, model_folder
from lasttoken.model.sources import locate_model
from lasttoken.runs.lock import check_not_at_work
from lasttoken.runs.record import (
    run_folder,
    run_status,
    search_folder,
    search_settings,
    settings_of,
)
from lasttoken.settings import is_number


def locate_inputs(config: TrainConfig) -> None:
    """Check the output folder, then the data, then the model; read and write nothing.

    Raises:
        LastTokenError: the folder is occupied or another run is at work in it, a path is missing,
            or a Hub name cannot be had; or it was launched to shard the model.
    """
    refuse_sharding()
    folder = run_folder(config)
    if run_status(folder, settings_of(config), overwrite=config.overwrite) == "finished":
        return
    _locate(config, folder)


def locate_search(config: TuneConfig) -> None:
    """Check the output folder, then the data, then the model; read and write nothing.

    Raises:
        LastTokenError: as for training.
    """
    folder = search_folder(config)
    run_status(folder, search_settings(config), overwrite=config.overwrite)
    _locate(config, folder)


def _locate(config: TrainConfig, folder: Path) -> None:
    if process_rank() == 0:  # the others find their own main process there
        check_not_at_work(folder)
    locate_data(config.data)
    for setting in (config.validation, config.test):
        if not is_number(setting):
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
    """Check the run, then the input, then the output; read and write nothing.

    Raises:
        LastTokenError: one of them is missing, or the output cannot be written.
    """
    if not is_exported(config.run):
        model_folder(config.run)
    for path in config.input:
        if path != STDIN:
            _refuse_same_file(find_path(path), config.output)
    check_output(config.output, overwrite=config.overwrite)


def _refuse_same_file(source: Path, output: str | None) -> None:
    """Check that rows are not written over those that are read: a part of them would replace all.

    Raises:
        ConfigError: they would be.
    """
    target = None if output is None else Path(output).expanduser()
    if target is not None and target.exists() and target.samefile(source):
        raise ConfigError(
            f"--output {output}: the input itself",
            expected="another file, so that no row of the input can be lost",
            remedy=f"--output {target.with_name(f'{target.stem}-labels{target.suffix}')}",
        )


def locate_export(config: ExportConfig) -> None:
    """Check the run, then the data; read and write nothing.

    Raises:
        LastTokenError: one of them is missing, or a Hub name cannot be had.
    """
    model_folder(config.run)
    if config.data is not None:
        locate_data(config.data)


def locate_patient(config: DoctorConfig) -> None:
    """Check the model that is to be examined, then the data; read and write nothing.

    Raises:
        LastTokenError: one of them is missing.
    """
    if config.model is not None:
        model_folder(config.model)
    if config.data is not None:
        locate_data(config.data)
