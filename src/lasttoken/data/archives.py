"""Archives are refused by name: unpacking a stranger's can write anywhere, or fill the disk."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from lasttoken.errors import DatasetError, LastTokenError

_ENDINGS = (
    ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst",
    ".tar.lz4", ".zip", ".7z", ".rar", ".mar",
)  # fmt: skip

ErrorT = TypeVar("ErrorT", bound=LastTokenError)


def archive_ending(path: Path) -> str | None:
    """Return the ending of a file's name if it is that of an archive; None of anything else."""
    if not path.is_file():
        return None
    name = path.name.lower()
    return max((ending for ending in _ENDINGS if name.endswith(ending)), key=len, default=None)


def archive_error(path: str | Path, ending: str, what: str, kind: type[ErrorT]) -> ErrorT:
    """Return the error for an archive in the place of something else.

    Args:
        path: as given.
        ending: of its name.
        what: should be there, such as "a model folder".
        kind: of the error.
    """
    return kind(
        f"{path}: a {ending} archive, which is never unpacked",
        expected=what,
        remedy="unpack it yourself if you trust it, and give the path of what is inside",
    )


def refuse_archive(path: str) -> None:
    """Refuse an archive in the place of data.

    Raises:
        DatasetError: it is one.
    """
    ending = archive_ending(Path(path).expanduser())
    if ending is not None:
        raise archive_error(path, ending, "a file or a folder of labeled text", DatasetError)
