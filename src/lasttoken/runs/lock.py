"""One process in a run folder at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lasttoken.errors import RunError
from lasttoken.runs.record import LOCK_NAME, read_record


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run folder, made if it is not there; the system lets go when the process ends.

    Raises:
        RunError: another process holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_NAME)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise _at_work(folder) from error
    except OSError as error:
        raise RunError(
            f"--output-dir {folder}: {error.strerror or error}",
            expected="a folder that can be written",
            remedy="another --output-dir",
        ) from error
    try:
        yield
    finally:
        lock.release()


def check_not_at_work(folder: Path) -> None:
    """Check that no other process holds a run folder now; make nothing.

    Raises:
        RunError: one does.
    """
    if not (folder / LOCK_NAME).is_file():
        return
    try:
        with FileLock(folder / LOCK_NAME).acquire(timeout=0):
            pass
    except Timeout as error:
        raise _at_work(folder) from error
    except OSError:  # told when the folder is to be written, if it is
        return


def _at_work(folder: Path) -> RunError:
    process = (read_record(folder) or {}).get("process") or {}
    who = f"process {process['pid']} on {process['host']}" if process else "another process"
    return RunError(
        f"--output-dir {folder}: {who} is at work in it",
        expected="a folder that no other run writes",
        remedy="wait for it or stop it, or another --output-dir",
    )
