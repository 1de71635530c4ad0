"""Where an export goes; told at once, without torch."""

from __future__ import annotations

from pathlib import Path

from lasttoken.config import ExportConfig
from lasttoken.errors import RunError
from lasttoken.model.location import is_exported


def export_folder(config: ExportConfig) -> Path:
    """Return the folder that will be written.

    Raises:
        RunError: it holds something, and may not be replaced.
    """
    default = Path(config.run).expanduser() / "exported" / config.format
    folder = default if config.output is None else Path(config.output).expanduser()
    if not folder.exists() and not folder.is_symlink():
        return folder
    is_empty = folder.is_dir() and not any(folder.iterdir())
    is_ours = is_exported(folder) and not folder.is_symlink()
    if is_empty or (is_ours and config.overwrite):
        return folder
    raise RunError(
        f"{folder}: " + ("exported already" if is_ours else "already there, and no exported model"),
        expected="a new folder",
        remedy="--overwrite, to export anew" if is_ours else "another --output",
    )
