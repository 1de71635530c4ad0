"""Where a trained model stands: told at once, without torch."""

from __future__ import annotations

from pathlib import Path

from lasttoken.data.archives import archive_ending, archive_error
from lasttoken.errors import RunError

EXPORT_RECORD_NAME = "lasttoken-export.json"


def model_folder(path: str | Path) -> Path:
    """Return the model folder of a run folder, or the path itself.

    Raises:
        RunError: there is nothing of the kind, or it is an archive.
    """
    folder = Path(path).expanduser()
    ending = archive_ending(folder)
    if ending is not None:
        raise archive_error(path, ending, "a run folder or a model folder", RunError)
    for candidate in (folder / "model", folder):
        if (candidate / "config.json").is_file():
            return candidate
    if is_exported(folder):
        raise RunError(
            f"{path}: an exported model, without weights that torch could read",
            expected="a run folder (with model/ inside) or a model folder (with config.json)",
            remedy="the run that it was exported from; an export works with predict and serve",
        )
    raise RunError(
        f"{path}: " + ("no model in this folder" if folder.is_dir() else "no such folder"),
        expected="a run folder (with model/ inside) or a model folder (with config.json)",
        remedy="check the path, or train first: lasttoken train DATA --output-dir " + str(path),
    )


def is_exported(path: str | Path) -> bool:
    """Return whether a folder is one that `lasttoken export` wrote."""
    return (Path(path).expanduser() / EXPORT_RECORD_NAME).is_file()
