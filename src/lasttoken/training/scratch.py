"""Room for more numbers than memory holds: arrays in a temporary folder.

The folder lies where temporary files do (`TMPDIR`) and is gone at the end, failed or not.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lasttoken.errors import ConfigError

_BYTES = 4  # of a number: fp32, as the residual stream is

# Left free for everyone else who writes temporary files.
_SPARE_BYTES = 200 * 2**20


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a temporary folder that is removed at the end, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="lasttoken-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def scratch_array(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Make an array in a file, with its room on the disk taken in advance.

    Raises:
        ConfigError: there is too little room.
    """
    num_bytes = math.prod(shape) * _BYTES
    check_room(num_bytes, path.parent)
    try:
        with path.open("wb") as file:
            # A hole in a file that finds no room later would end the process by a signal.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            else:
                file.truncate(num_bytes)
    except OSError as error:
        raise _too_little_room(num_bytes, path.parent, error.strerror or str(error)) from error
    return np.memmap(path, dtype=np.float32, mode="r+", shape=shape)


def check_room(num_bytes: int, folder: Path | None = None) -> None:
    """Check that the folder for temporary files has room for so many bytes.

    Raises:
        ConfigError: it has not.
    """
    folder = Path(tempfile.gettempdir()) if folder is None else folder
    free = shutil.disk_usage(folder).free
    if num_bytes + _SPARE_BYTES > free:
        raise _too_little_room(num_bytes, folder, f"{free / 1e9:.1f} GB are free")


def _too_little_room(num_bytes: int, folder: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"hidden states of {num_bytes / 1e9:.1f} GB do not fit into {folder}: {reason}",
        expected=f"{(num_bytes + _SPARE_BYTES) / 1e9:.1f} GB of room for temporary files",
        remedy="set TMPDIR to a folder on a larger disk, or train on less with --limit",
    )
