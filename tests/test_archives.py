"""Archives, however they were made, are refused by name: nothing is unpacked, nothing written."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Command, check_refused

REMEDY = "unpack it yourself if you trust it, and give the path of what is inside"


def _tar(path: Path, *members: tarfile.TarInfo, content: bytes = b"{}") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            if member.isreg():
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                archive.addfile(member)
    return path


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def _zip(path: Path, *names: str, content: bytes = b"{}") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return path


def _setuid(path: Path) -> Path:
    member = _member("config.json")
    member.mode = 0o4755
    return _tar(path, member)


HOSTILE: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "an ordinary model": ("model.tar.gz", lambda p: _tar(p, _member("config.json"))),
    "climbs out": ("model.tgz", lambda p: _tar(p, _member("../escaped"))),
    "absolute": ("model.tar.gz", lambda p: _tar(p, _member(str(p.parent / "escaped")))),
    "through a link": (
        "model.tar.gz",
        lambda p: _tar(p, _member("out", tarfile.SYMTYPE, ".."), _member("out/escaped")),
    ),
    "hard link": (
        "model.tar.gz",
        lambda p: _tar(p, _member("passwd", tarfile.LNKTYPE, "/etc/passwd")),
    ),
    "device": ("model.tar.gz", lambda p: _tar(p, _member("null", tarfile.CHRTYPE))),
    "setuid": ("model.tar.gz", _setuid),
    "many members": ("model.zip", lambda p: _zip(p, *(f"escaped-{n}" for n in range(2_000)))),
    "bomb": ("model.ZIP", lambda p: _zip(p, "config.json", content=b"\0" * 20_000_000)),
    "duplicate names": (
        "model.tar",
        lambda p: _tar(p, _member("config.json"), _member("config.json", tarfile.SYMTYPE, "..")),
    ),
    "backslashes": ("model.zip", lambda p: _zip(p, "..\\escaped")),
    "no archive at all": ("model.7z", lambda p: (p.write_bytes(b"7z"), p)[1]),
}


@pytest.fixture(params=HOSTILE)
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    inner = tmp_path / "inner"
    inner.mkdir()
    name, make = HOSTILE[request.param]
    return make(inner / name)


def check_nothing_is_unpacked(archive: Path) -> None:
    found = {str(path.relative_to(archive.parents[1])) for path in archive.parents[1].rglob("*")}
    assert found - {"reviews.csv"} == {"inner", f"inner/{archive.name}"}


def ending_of(archive: Path) -> str:
    return archive.name.lower().removeprefix("model")


def test_an_archive_is_no_model(lasttoken: Command, archive: Path, reviews: Path) -> None:
    check_refused(
        lasttoken("train", reviews, "--model", archive),
        found=f"{archive}: a {ending_of(archive)} archive, which is never unpacked",
        expected="a model folder, a .gguf file, a Hub id, or a sample name",
        remedy=REMEDY,
    )
    check_nothing_is_unpacked(archive)


def test_an_archive_is_no_run(lasttoken: Command, archive: Path, reviews: Path) -> None:
    for words in (("predict", archive, reviews), ("evaluate", archive, reviews),
                  ("doctor", archive), ("push", archive, "name", "--dry-run"),
                  ("export", archive), ("serve", archive)):  # fmt: skip
        check_refused(
            lasttoken(*words),
            found=f"{archive}: a {ending_of(archive)} archive, which is never unpacked",
            expected="a run folder or a model folder",
            remedy=REMEDY,
        )
    check_nothing_is_unpacked(archive)


def test_an_archive_is_no_data(
    lasttoken: Command, archive: Path, tiny_gpt2: Path, finished_run: Path
) -> None:
    found = f"{archive}: a {ending_of(archive)} archive, which is never unpacked"
    for words in (
        ("train", archive, "--model", tiny_gpt2),
        ("evaluate", finished_run, archive),
        ("predict", finished_run, archive),
    ):
        outcome = lasttoken(*words)
        check_refused(
            outcome, found=found, expected="a file or a folder of labeled text", remedy=REMEDY
        )
    check_nothing_is_unpacked(archive)


def test_check_tells_an_archive_too(lasttoken: Command, tmp_path: Path) -> None:
    _zip(tmp_path / "data.zip", "a.csv")
    outcome = lasttoken("check", "data.zip")
    assert outcome.code == 2
    assert "data.zip: a .zip archive, which is never unpacked" in outcome.out + outcome.err


def test_a_folder_may_be_called_as_archives_are(
    lasttoken: Command, tmp_path: Path, finished_run: Path
) -> None:
    folder = tmp_path / "reviews.zip"
    for label in ("pos", "neg"):
        (folder / label).mkdir(parents=True)
        (folder / label / "1.txt").write_text("a film")
    assert lasttoken("check", "reviews.zip").code in (0, 1)
