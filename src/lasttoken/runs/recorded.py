"""A finished run, read back: its record, the settings that repeat it, what its weights are."""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lasttoken import __version__
from lasttoken.config import TrainConfig
from lasttoken.errors import ConfigError, RunError
from lasttoken.runs.record import RECORD_NAME, read_record

_WEIGHTS = "model/*.safetensors"  # one file, or several of a large model


def finished_record(run: Path) -> dict[str, Any]:
    """Return the record of a finished run whose weights are there.

    Raises:
        RunError: there is none.
    """
    record = read_record(run)
    if record is None:
        found = f"no {RECORD_NAME} that can be read" if run.is_dir() else "no such folder"
        is_inside = read_record(run.parent) is not None  # such as RUN/model
        raise RunError(
            f"{run}: {found}",
            expected="a run folder, as lasttoken train leaves it",
            remedy=f"did you mean {run.parent}?" if is_inside else "check the path",
        )
    if record.get("status") != "finished":
        words = [word for word in record.get("command", ()) if word != "--overwrite"]
        raise RunError(
            f"{run}: this run is not finished",
            expected="a finished run, whose weights can be compared",
            remedy=f"go on with it: {shlex.join(words)}",
        )
    if not any(run.glob(_WEIGHTS)):
        raise RunError(
            f"{run / 'model'}: no weights (*.safetensors)",
            expected="the model folder of the run, to compare with",
            remedy="bring it back",
        )
    return record


def recorded_config(run: Path, record: Mapping[str, Any]) -> TrainConfig:
    """Return a run's settings, with its inputs as seen from anywhere, and what "auto" meant.

    Raises:
        RunError: the record is of another form.
    """
    try:
        settings = dict(record["settings"])
        for name in ("data", "validation", "test", "model"):  # older records have the data's alone
            settings[name] = record.get(f"{name}_location", settings[name])
        for name in ("precision", "device"):
            settings[name] = record["resolved"][name]
        known = {field.name for field in dataclasses.fields(TrainConfig)}
        if unknown := sorted(set(settings) - known):
            raise KeyError(", ".join(unknown))
        return TrainConfig(**settings)
    except (KeyError, TypeError, ConfigError) as error:
        fault = error.found if isinstance(error, ConfigError) else f"{error}, missing or unknown"
        writer = record.get("versions", {}).get("lasttoken", "unknown")
        raise RunError(
            f"{run / RECORD_NAME}: {fault}",
            expected=f"the record of a run that lasttoken {__version__} understands",
            remedy=f"the version of lasttoken that wrote it: {writer}",
        ) from error


def weights_files_sha256(run: Path) -> dict[str, str]:
    """Return file name to SHA-256 (hex) of a run's weights."""
    digests = {}
    for path in sorted(run.glob(_WEIGHTS)):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
