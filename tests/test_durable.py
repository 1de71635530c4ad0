"""A folder in the place of another: whoever dies in between, one of the two is whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lasttoken import durable
from lasttoken.durable import folder_beside, replace_folder

CHANGES = ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir")


class Killed(BaseException):
    """Ends a process: nothing may catch it."""


class Stopping:
    """Stands between `durable` and the system, and stops before the n-th change of a file."""

    def __init__(self, stop_at: int, error: BaseException) -> None:
        self.stop_at, self.error, self.count = stop_at, error, 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._counted(real) if name in CHANGES else real

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self.stop_at:
                raise self.error
            return real(*words, **options)

        return call


def fill(folder: Path, content: str) -> Path:
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(content)
    return folder


def content_of(folder: Path) -> str:
    first, second = ((folder / name).read_text() for name in ("a", "b"))
    assert first == second, "two halves"
    return first


def stopped(
    base: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> Iterator[tuple[Path, Path]]:
    """Replace a folder again and again, stopped before every change; yield target and parent."""
    for stop_at in range(1, 100):
        parent = base / str(stop_at)
        parent.mkdir()
        target = fill(parent / "target", "old")
        new = fill(folder_beside(target), "new")
        system = Stopping(stop_at, error)
        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", system)
            try:
                replace_folder(new, target)
            except type(error):
                yield target, parent
                continue
        assert content_of(target) == "new"
        assert stop_at > 4, "changes were counted"
        return
    raise AssertionError("no end")


def test_a_process_that_dies_leaves_the_old_or_the_new_folder_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for target, parent in stopped(tmp_path, monkeypatch, Killed()):
        whole = {content_of(folder) for folder in parent.iterdir()}
        assert whole <= {"old", "new"}
        assert "old" in whole or content_of(target) == "new"
        replace_folder(fill(folder_beside(target), "newer"), target)
        assert [folder.name for folder in parent.iterdir()] == ["target"]
        assert content_of(target) == "newer"


def test_where_the_system_refuses_the_old_folder_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for target, _ in stopped(tmp_path, monkeypatch, full):
        assert content_of(target) in ("old", "new")


def test_what_a_process_at_work_or_anyone_else_left_stays(tmp_path: Path) -> None:
    target = fill(tmp_path / "target", "old")
    at_work = fill(tmp_path / f"target.lasttoken-new-{os.getppid()}", "half")
    others = [fill(tmp_path / name, "mine")
              for name in ("target.lasttoken-new-notes", "target2.lasttoken-new-77")]  # fmt: skip
    replace_folder(fill(folder_beside(target), "new"), target)
    assert content_of(target) == "new"
    assert set(tmp_path.iterdir()) == {target, at_work, *others}
