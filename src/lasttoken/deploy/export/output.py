"""Whether and where an export can go; told at once, without torch."""

from __future__ import annotations

from pathlib import Path

from lasttoken.config import ExportConfig
from lasttoken.errors import RunError
from lasttoken.model.location import EXPORT_RECORD_NAME, is_exported

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
FILES = {"model.onnx", "tokenizer.json", EXPORT_RECORD_NAME}


def default_folder(run: str, export_format: str) -> Path:
    """Return where a run is exported to, if nobody says otherwise."""
    return Path(run).expanduser() / "exported" / export_format


def export_folder(config: ExportConfig) -> Path:
    """Return the folder that will be written.

    Raises:
        RunError: it holds something, and may not be replaced.
    """
    folder = (
        default_folder(config.run, config.format)
        if config.output is None
        else Path(config.output).expanduser()
    )
    if not folder.exists() and not folder.is_symlink():
        return folder
    is_empty = folder.is_dir() and not any(folder.iterdir())
    is_ours = is_exported(folder) and not folder.is_symlink()
    foreign = sorted({path.name for path in folder.iterdir()} - FILES) if is_ours else []
    if foreign:
        raise RunError(
            f"{folder}: an exported model, and {foreign[0]!r}, which no export wrote",
            expected="a new folder, or an earlier export alone",
            remedy="move the file away, or another --output",
        )
    if is_empty or (is_ours and config.overwrite):
        return folder
    raise RunError(
        f"{folder}: " + ("exported already" if is_ours else "already there, and no exported model"),
        expected="a new folder",
        remedy="--overwrite, to export anew" if is_ours else "another --output",
    )
