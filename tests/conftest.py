"""What every test stands on: no network, no cache of the user, tiny models and data to share."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import hypothesis
import pytest

if TYPE_CHECKING:
    from lasttoken import TextClassifier

# Set before torch, transformers and huggingface_hub are imported: they read these only once.
_CACHE = tempfile.mkdtemp(prefix="lasttoken-tests-")
os.environ["LASTTOKEN_CACHE"] = f"{_CACHE}/lasttoken"
os.environ["HF_HOME"] = f"{_CACHE}/huggingface"
# Two processes that test side by side share the two cores that the suite may count on.
_THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
os.environ["OMP_NUM_THREADS"] = str(_THREADS)
os.environ["OMP_WAIT_POLICY"] = "passive"  # threads that spin stall tiny models on a busy machine
# Being offline is found out by the package itself, not told by the environment.
for _name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_CACHE", "HF_DATASETS_CACHE"):
    os.environ.pop(_name, None)

# A machine that is busy is no fault of what is tested.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Block sockets in every test; one that needs them asks for the fixture `socket_enabled`."""
    config.option.disable_socket = True
    config.option.allow_unix_socket = True


def pytest_unconfigure() -> None:
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def threads() -> None:
    import torch

    torch.set_num_threads(_THREADS)


class Outcome(NamedTuple):
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


def check_refused(
    outcome: Outcome, *, found: str, expected: str, remedy: str, written: str = ""
) -> None:
    """Check exit code, the three lines at the end of standard error, and that no run was made.

    `written` is the one run folder that was there before.
    """
    assert outcome.code == 2, outcome.err
    assert outcome.out == ""
    *notes, first, second, third = outcome.err.splitlines()
    assert first.startswith(f"error: {found}"), first
    assert second.startswith(f"expected: {expected}"), second
    assert third.startswith(f"try: {remedy}"), third
    assert not any(line.startswith(("error:", "expected:", "try:", "Traceback")) for line in notes)
    assert [str(path) for path in Path("runs").glob("*")] == [written][: bool(written)]
    assert written or not Path("runs").exists()


@pytest.fixture
def lasttoken(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run a command of ours in this process, in an empty folder."""
    from lasttoken.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Outcome:
        capfd.readouterr()
        code = main([str(word) for word in words])
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 of two blocks, 512 positions, a token a byte."""
    from families import save_decoder

    return save_decoder(tmp_path_factory.mktemp("models") / "tiny-gpt2")


REVIEWS = [(f"a {word} film, number {n}", label) for n in range(20)
           for word, label in (("wonderful", "pos"), ("dreadful", "neg"))]  # fmt: skip


def write_reviews(path: Path, header: str = "text,label") -> Path:
    """Write 40 reviews as CSV; texts hold a comma."""
    lines = [f'"{text}",{label}' for text, label in REVIEWS]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    return write_reviews(tmp_path / "reviews.csv")


FAST = ("--num-epochs", "1", "--max-length", "32", "--precision", "fp32")


@pytest.fixture(scope="session")
def finished_run(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on 40 reviews, fp32; for reading only."""
    from lasttoken.cli import main

    folder = tmp_path_factory.mktemp("finished")
    data = write_reviews(folder / "reviews.csv")
    run = folder / "run"
    words = ["train", str(data), "--model", str(tiny_gpt2), "--output-dir", str(run), *FAST]
    assert main(words) == 0
    return run


@pytest.fixture(scope="session")
def classifier(finished_run: Path) -> TextClassifier:
    """The finished run's classifier, fp32; for reading only."""
    from lasttoken import TextClassifier

    return TextClassifier.from_pretrained(finished_run, precision="fp32", device="cpu")


@pytest.fixture
def fresh(finished_run: Path) -> TextClassifier:
    """The same classifier, loaded anew: a test may spoil it."""
    from lasttoken import TextClassifier

    return TextClassifier.from_pretrained(finished_run, precision="fp32", device="cpu")


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the plots out of runs whose test is about something else: they take most of it."""
    monkeypatch.setattr("lasttoken.runs.results.write_plots", lambda *words: {})


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to write into."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def hash_folder(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def opened_sockets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record every attempt to open a socket or to look a host up; each fails."""
    import socket

    attempts: list[str] = []

    class Refused(socket.socket):
        def __new__(cls, *words: object, **_: object) -> Refused:
            attempts.append(f"socket{words}")
            raise OSError("no network in tests")

    def refuse(host: object, *words: object, **_: object) -> None:
        attempts.append(f"look up {host}")
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "socket", Refused)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts
