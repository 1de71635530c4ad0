"""The run folder: who may write where, and its record `run.json`.

    RUN/  model/  run.json  history.jsonl  metrics.json  report.html  plots/  predictions/
          checkpoints/ and .lock, until the run is finished

`run.json` says "unfinished" from the first write to the last, then "finished".
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lasttoken.config import TrainConfig, TuneConfig
from lasttoken.durable import is_left_over, replace_file, sweep, telling
from lasttoken.errors import RunError

RECORD_NAME = "run.json"
LOCK_NAME = ".lock"
CHECKPOINTS_NAME = "checkpoints"
TRACKER_NAME = "tracker"

# What a run or a search writes beside record and checkpoints; `--overwrite` removes these alone.
_RESULTS = ("model", "adapter", "plots", "predictions", "evaluations", "exported", "history.jsonl",
            "metrics.json", "report.html", "label_issues.csv",
            "journal.log", "trials.jsonl", "best.toml")  # fmt: skip

# Settings that say where a result goes and how often it is saved, not what it is.
_NOT_THE_RESULT = {
    "output_dir", "overwrite", "checkpoint_minutes", "checkpoint_steps", "tracker",
}  # fmt: skip

# Settings that change the report and not the model.
_OF_THE_REPORT = {"slice_by", "precision_at_least", "explain", "label_check"}

_DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(TrainConfig)
    if field.default is not dataclasses.MISSING and field.name not in _NOT_THE_RESULT
}

RunStatus = Literal["new", "unfinished", "finished"]


def settings_of(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that decide a run's result."""
    return {k: v for k, v in dataclasses.asdict(config).items() if k not in _NOT_THE_RESULT}


def run_folder(config: TrainConfig) -> Path:
    """Return the folder given, else one such as runs/movie-reviews-smollm2."""
    if config.output_dir:
        return Path(config.output_dir)
    return Path("runs") / f"{short_name(config.data)}-{short_name(config.model)}"


def search_settings(config: TuneConfig) -> dict[str, Any]:
    """Return the settings that decide a search, but for its time: more time goes on."""
    return {"tune": True, **{k: v for k, v in settings_of(config).items() if k != "minutes"}}


def search_folder(config: TuneConfig) -> Path:
    """Return the folder given, else one such as runs/movie-reviews-smollm2-tune."""
    folder = run_folder(config)
    return folder if config.output_dir else folder.with_name(f"{folder.name}-tune")


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return `run.json` of a run folder, or None if there is none that can be read."""
    try:
        content = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def run_status(folder: Path, settings: Mapping[str, Any], *, overwrite: bool) -> RunStatus:
    """Return what a run folder holds: nothing (or what may be replaced), or this very run.

    Raises:
        RunError: the folder holds anything else and `overwrite` is False, or it holds what no run
            wrote.
    """
    if folder.exists() and not folder.is_dir():
        raise _occupied(folder, "is a file")
    if not folder.exists() or all(
        path.name == LOCK_NAME or is_left_over(path) for path in folder.iterdir()
    ):
        return "new"
    record = read_record(folder)
    if record is None:  # not even with overwrite: nothing here was written by a run
        raise RunError(
            f"--output-dir {folder}: holds something that is no run",
            expected="a folder that does not exist, is empty, or holds an earlier run",
            remedy="another --output-dir",
        )
    if overwrite:
        _refuse_own_input(folder, settings)
        return "new"
    # An earlier version's run had no such setting yet: it did what is the default now.
    before = {**_DEFAULTS, **record.get("settings", {})}
    changed = sorted(k for k in {*settings, *before} if settings.get(k) != before.get(k))
    if changed:
        error = _occupied(folder, "holds a run with other settings: " + ", ".join(changed))
        if set(changed) <= _OF_THE_REPORT and record.get("status") == "finished":
            error.remedy = "lasttoken evaluate RUN DATA takes these flags too; or " + error.remedy
        raise error
    return "finished" if record.get("status") == "finished" else "unfinished"


def open_run_folder(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a new run; remove an earlier run's files.

    Files that no run writes are left alone.

    Raises:
        RunError: the folder cannot be written.
    """
    with telling(folder):  # in this order: no checkpoint is left that the new run could take
        _remove(folder / CHECKPOINTS_NAME)
        _remove(folder / TRACKER_NAME)  # stays when a run goes on
    write_record(folder, {**record, "status": "unfinished"})
    _remove_results(folder)


def reopen_run_folder(folder: Path, record: Mapping[str, Any]) -> None:
    """Ready the folder of an unfinished run: what comes after training will be written anew.

    Raises:
        RunError: the folder cannot be written.
    """
    _remove_results(folder)
    write_record(folder, {**record, "status": "unfinished"})


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write `run.json` in one step.

    Raises:
        RunError: it cannot be written.
    """
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    replace_file(folder / RECORD_NAME, text.encode("utf-8", "surrogatepass"))


def _remove_results(folder: Path) -> None:
    """Remove what a run wrote but for its record and checkpoints, also what was not complete."""
    sweep(folder)
    with telling(folder):
        for path in folder.glob(".model-*"):
            _remove(path)
        for name in _RESULTS:
            _remove(folder / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()


def short_name(name: str) -> str:
    """Return what a path or Hub id is called in short: its last part, without a file's ending."""
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
