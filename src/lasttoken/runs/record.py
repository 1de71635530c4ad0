"""The run folder: who may write where, and its record `run.json`.

    RUN/  model/  run.json  history.jsonl  metrics.json  report.html  plots/  predictions/

`run.json` says "unfinished" from the first write to the last, then "finished".
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lasttoken.config import TrainConfig
from lasttoken.errors import RunError

RECORD_NAME = "run.json"

# What a run writes; `--overwrite` removes these and nothing else.
_OURS = ("model", "plots", "predictions", "evaluations", RECORD_NAME, "history.jsonl",
         "metrics.json", "report.html")  # fmt: skip

# Settings that say where a result goes, not what it is.
_PLACE_ONLY = {"output_dir", "overwrite"}


def settings_of(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that decide a run's result."""
    return {k: v for k, v in dataclasses.asdict(config).items() if k not in _PLACE_ONLY}


def run_folder(config: TrainConfig) -> Path:
    """Return the folder given, else one such as runs/movie-reviews-smollm2."""
    if config.output_dir:
        return Path(config.output_dir)
    return Path("runs") / f"{_short(config.data)}-{_short(config.model)}"


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return `run.json` of a run folder, or None if there is none that can be read."""
    try:
        content = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def is_finished_run(folder: Path, settings: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Return True if the folder holds this very run, finished; False if it may be written.

    Raises:
        RunError: the folder holds anything else and `overwrite` is False, or it holds what no run
            wrote.
    """
    if folder.exists() and not folder.is_dir():
        raise _occupied(folder, "is a file")
    if not folder.exists() or not any(folder.iterdir()):
        return False
    record = read_record(folder)
    if record is None:  # not even with overwrite: nothing here was written by a run
        raise RunError(
            f"--output-dir {folder}: holds something that is no run",
            expected="a folder that does not exist, is empty, or holds an earlier run",
            remedy="another --output-dir",
        )
    if overwrite:
        _refuse_own_input(folder, settings)
        return False
    if record.get("settings") != dict(settings):
        changed = sorted(
            key
            for key in {*settings, *record.get("settings", {})}
            if settings.get(key) != record.get("settings", {}).get(key)
        )
        raise _occupied(folder, "holds a run with other settings: " + ", ".join(changed))
    if record.get("status") != "finished":
        raise _occupied(folder, "holds a run that was not finished")
    return True


def open_run_folder(folder: Path, record: Mapping[str, Any], *, overwrite: bool) -> None:
    """Create the run folder with its record; with `overwrite`, remove an earlier run's files.

    Files that no run writes are left alone.
    """
    if overwrite and folder.is_dir():
        for name in _OURS:
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.exists() or path.is_symlink():
                path.unlink()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_record(folder, {**record, "status": "unfinished"})
    except OSError as error:
        raise RunError(
            f"--output-dir {folder}: {error.strerror or error}",
            expected="a folder that can be written",
            remedy="another --output-dir",
        ) from error


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write `run.json` in one step."""
    temporary = folder / (RECORD_NAME + ".part")
    temporary.write_text(
        json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n"
    )
    os.replace(temporary, folder / RECORD_NAME)


def _short(name: str) -> str:
    path = Path(name)
    is_file = path.suffix in {".csv", ".tsv", ".jsonl", ".json", ".ndjson", ".parquet", ".gguf"}
    if is_file:
        return path.stem
    # "." has no name of its own; a link keeps the name by which it was called.
    return (os.path.basename(os.path.abspath(path)) if path.is_dir() else path.name) or "run"


def _refuse_own_input(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to overwrite the model or data that the run is about to read."""
    for name in ("model", "data", "validation", "test"):
        path = Path(str(settings[name]))
        if path.exists() and folder.resolve() in (path.resolve(), *path.resolve().parents):
            raise RunError(
                f"--output-dir {folder} --overwrite: would remove --{name} {path}",
                expected="a run folder that holds none of the run's own input",
                remedy="another --output-dir",
            )


def _occupied(folder: Path, what: str) -> RunError:
    return RunError(
        f"--output-dir {folder}: {what}",
        expected="a folder that does not exist or is empty",
        remedy="another --output-dir, or --overwrite to replace what an earlier run wrote",
    )
