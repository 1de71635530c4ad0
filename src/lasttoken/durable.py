"""Files that survive: written whole, flushed to the disk, and in place in one step.

Everything that must outlive a crash goes through here, so that a test can count the calls to the
system and let the process die, or the disk be full, at each of them.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lasttoken.errors import RunError

# A file or folder on its way in or out has one of these in its name; `sweep` removes what a crash
# left of them.
_NEW, _OLD = ".lasttoken-new-", ".lasttoken-old-"


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turn what the system refuses in this block into the three lines.

    Args:
        path: what was to be written or removed.

    Raises:
        RunError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path}: {error.strerror or error}",
            expected="a place that can be written, with room left",
            remedy="make room or give the right to write, then the same command: it goes on "
            "from what is saved",
        ) from error


def replace_file(path: Path, content: bytes) -> None:
    """Give a file new content: whoever reads it, at any time, finds the old or the new.

    Raises:
        RunError: it cannot be written; the old content is still there.
    """
    with telling(path):
        _replace(path, path.with_name(f"{path.name}{_NEW}{os.getpid()}"), content)


def replace_lone_file(path: Path, content: bytes) -> None:
    """Do so in a folder of the user's; what killed processes left of such attempts is removed.

    Raises:
        RunError: it cannot be written; the old content is still there.
    """
    with telling(path):
        _replace(path, name_beside(path), content)


def _replace(path: Path, new: Path, content: bytes) -> None:
    try:
        _write_file(new, content)
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


class NewFolder:
    """A folder of files that appears complete or not at all; a context manager.

    Args:
        path: the name it has when the block ends without an exception.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._new = path.with_name(f"{path.name}{_NEW}{os.getpid()}")

    def __enter__(self) -> NewFolder:
        """Make it, under another name.

        Raises:
            RunError: it cannot be made.
        """
        with telling(self._path):
            os.mkdir(self._new)
        return self

    def write(self, name: str, content: bytes) -> None:
        """Write one file, and wait until the disk has it.

        Raises:
            RunError: it cannot be written.
        """
        with telling(self._path / name):
            _write_file(self._new / name, content)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Give it its name, and wait until the disk has that; or remove it.

        Raises:
            RunError: it cannot get its name.
        """
        if kind is not None:
            with suppress(OSError):  # what went wrong before is what must be told
                _remove_files(self._new)
            return
        with telling(self._path):
            try:
                _sync_folder(self._new)
                os.rename(self._new, self._path)
            except OSError:
                with suppress(OSError):
                    _remove_files(self._new)
                raise
            _sync_folder(self._path.parent)


def refuse_occupied(folder: Path) -> None:
    """Check that a folder can be made anew: it is not there, or empty.

    Raises:
        RunError: it holds something.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise RunError(
            f"{folder}: already there and not empty",
            expected="a new folder",
            remedy="choose another name, or remove it",
        )


def place(new: Path, path: Path) -> None:
    """Give a file or folder that another program filled its name, once the disk has all of it.

    Raises:
        OSError: as the system says.
    """
    for each in [*sorted(new.rglob("*")), new]:
        if each.is_file():
            _sync_file(each)
    if new.is_dir():
        _sync_folder(new)
    os.replace(new, path)
    _sync_folder(path.parent)


def replace_folder(new: Path, path: Path) -> None:
    """Place a folder where there may be an earlier one, which stays until then.

    Killed in between, the earlier one is left under another name, until this is done again.

    Raises:
        OSError: as the system says.
    """
    old = path.with_name(f"{path.name}{_OLD}{os.getpid()}")
    if path.is_dir():
        shutil.rmtree(old, ignore_errors=True)  # of a killed process of this number
        os.rename(path, old)
    try:
        place(new, path)
    except OSError:
        if old.is_dir():
            os.rename(old, path)
        raise
    for left in {old, *_orphans(path.parent, f"{path.name}{_OLD}", "")}:
        shutil.rmtree(left, ignore_errors=True)


def folder_beside(path: Path) -> Path:
    """Return a name for what will replace a folder; what killed processes left so is removed.

    Raises:
        OSError: something cannot be removed.
    """
    for orphan in _orphans(path.parent, f"{path.name}{_NEW}", ""):
        shutil.rmtree(orphan)
    return path.with_name(f"{path.name}{_NEW}{os.getpid()}")


def remove_folder(path: Path) -> None:
    """Remove a folder of files; whatever happens meanwhile, it is whole or has lost its name.

    Raises:
        RunError: it cannot be removed.
    """
    old = path.with_name(f"{path.name}{_OLD}{os.getpid()}")
    with telling(path):
        os.rename(path, old)
        _remove_files(old)


def is_left_over(path: Path) -> bool:
    """Return whether a crashed process may have left a file or folder of this name."""
    return _NEW in path.name or _OLD in path.name


def sweep(folder: Path) -> None:
    """Remove what crashed processes left in a folder: files and folders on their way in or out.

    Call it only where no other process writes.

    Raises:
        RunError: something cannot be removed.
    """
    with telling(folder):
        for path in sorted(folder.iterdir()):
            if not is_left_over(path):
                continue
            if path.is_dir():
                _remove_files(path)
            else:
                os.unlink(path)


def name_beside(path: Path) -> Path:
    """Return a name for what will replace a file, and remove what killed processes left under one.

    Raises:
        OSError: something cannot be removed.
    """
    for orphan in _orphans(path.parent, f".{path.name}.", ".tmp"):
        orphan.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _orphans(folder: Path, start: str, end: str) -> list[Path]:
    """Return what a folder holds under such a name around the number of a process that is no more.

    Windows has no way to ask whether a process is alive; there, what was left stays.
    """
    if os.name == "nt":
        return []
    numbers = {
        path: path.name.removeprefix(start).removesuffix(end)
        for path in folder.glob(f"{glob.escape(start)}*{end}")
    }
    return [
        path
        for path, number in numbers.items()
        if number.isdecimal() and not _is_alive(int(number))
    ]


def _is_alive(process: int) -> bool:
    if process == os.getpid():  # in a container every process may have this number
        return False
    try:
        os.kill(process, 0)  # asks, and sends nothing
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _write_file(path: Path, content: bytes) -> None:
    binary = getattr(os, "O_BINARY", 0)  # else Windows would change line ends
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | binary, 0o666)
    try:
        rest = memoryview(content)
        while rest:  # a single call writes at most 2 GiB
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_files(folder: Path) -> None:
    for file in sorted(folder.iterdir()):
        os.unlink(file)
    os.rmdir(folder)


def _sync_file(path: Path) -> None:
    """Wait until the disk has all of a file."""
    descriptor = os.open(path, os.O_RDWR)  # as Windows wants it
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Wait until the disk has a folder's list of names; Windows has no call for it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
