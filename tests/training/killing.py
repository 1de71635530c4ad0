"""Runs in processes of their own that die in the middle, and what they leave.

A warm parent imports everything once and computes nothing; each run is a fork of it, with one
thread, because a pool of threads does not survive a fork. A fork costs milliseconds, a new process
seconds.

    tests:        runs.start(words, die_at=7)  -> process id          runs.wait(id) -> exit code
    warm parent:  reads a line of JSON a job, forks, answers
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

KILLED = 128 + signal.SIGKILL  # as a shell reports it


ASKED: list[int] = []  # signals that a run has sent itself


class Runs:
    """Commands of ours, each in a fork of a warm parent; a context manager.

    Args:
        folder: where the commands run.
        log: that takes what they print.
    """

    def __init__(self, folder: Path, log: Path | None = None) -> None:
        self.folder, self.log = folder, log or folder / "log.txt"

    def __enter__(self) -> Runs:
        tests = Path(__file__).parent
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONPATH": os.pathsep.join([*map(str, (tests, tests.parent)), *sys.path]),
        }
        self._parent = subprocess.Popen(
            [sys.executable, __file__],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.stdin.close()
        self._parent.wait()
        self._parent.stdout.close()

    def start(self, *words: object, **options: Any) -> int:
        """Start a command; return its process id.

        Options are those of `CallCounter`, `watch_batches` and `watch_validation`.
        """
        job = {"words": list(map(str, words)), "log": str(self.log), **options}
        return int(self._ask(job))

    def wait(self, process: int) -> int:
        """Wait for a command; return its exit code, 128 + n for signal n."""
        return int(self._ask({"wait": process}))

    @staticmethod
    def kill(process: int, number: int) -> None:
        """Send a signal to a command, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)

    def run(self, *words: object, **options: Any) -> int:
        """Run a command to its end; return its exit code."""
        return self.wait(self.start(*words, **options))

    def printed(self) -> str:
        """Return what the commands have printed since this was last asked."""
        text = self.log.read_text() if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        return text

    def _ask(self, job: dict[str, Any]) -> str:
        self._parent.stdin.write(json.dumps(job) + "\n")
        self._parent.stdin.flush()
        return self._parent.stdout.readline()


class CallCounter:
    """Stands between `durable` and the system, and may let a call fail or the process die.

    Args:
        calls: a file to list the calls in.
        die_at: number of the call before which the process ends, counted from 1.
        kill_at: likewise, by SIGKILL.
        signal_at: number of the call before which the process sends itself the signal `by`.
        again_at: part of a path; a second signal comes before the first call on such a path once
            the first signal came.
        fail_at: number of the call that fails.
        error: how it fails.
    """

    NAMES = ("open", "write", "fsync", "replace", "rename", "unlink", "rmdir", "mkdir")

    def __init__(
        self,
        calls: str | None = None,
        die_at: int | None = None,
        kill_at: int | None = None,
        signal_at: int | None = None,
        again_at: str | None = None,
        by: int = signal.SIGKILL,
        fail_at: int | None = None,
        error: int = 0,
    ) -> None:
        self._calls, self._die_at, self._kill_at = calls, die_at, kill_at
        self._fail_at, self._error = fail_at, error
        self._signal_at, self._again_at, self._by = signal_at, again_at, by
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._counted(name, real) if name in self.NAMES else real

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            self._count += 1
            if self._calls is not None:
                with Path(self._calls).open("a") as file:
                    file.write(f"{name} {words[0] if isinstance(words[0], str | Path) else ''}\n")
            if self._count == self._die_at:
                os._exit(KILLED)
            if self._count == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if self._count == self._signal_at:
                os.kill(os.getpid(), self._by)
            if self._again_at is not None and ASKED and self._again_at in str(words[0]):
                self._again_at = None
                os.kill(os.getpid(), self._by)
            if self._count == self._fail_at:
                raise OSError(self._error, os.strerror(self._error))
            return real(*words, **options)

        return call


def result(run_folder: Path) -> dict[str, Any]:
    """Return what must not depend on where a run was interrupted: weights, numbers, leftovers."""
    weights = (run_folder / "model" / "model.safetensors").read_bytes()
    history = [json.loads(line) for line in (run_folder / "history.jsonl").read_text().splitlines()]
    for row in history:
        del row["seconds"]
    metrics = json.loads((run_folder / "metrics.json").read_text())
    for baseline in metrics["baselines"].values():
        del baseline["seconds"]
    for row in metrics["training"]["history"]:
        del row["seconds"]
    del metrics["notes"]  # a damaged checkpoint is told there
    for place in ("Cost", "Provenance"):  # seconds, memory, and the command with its folder
        del metrics["run"][place]
    return {
        "weights": hashlib.sha256(weights).hexdigest(),
        "history": history,
        "metrics": metrics,
        "files": sorted(str(path.relative_to(run_folder)) for path in run_folder.rglob("*")),
    }


def watch_batches(trace: str | None, stop_at_batch: int | None, by: int) -> None:
    """List in a file which examples each batch holds; send a signal before one of them.

    Args:
        trace: of the file, a line a batch; None lists nothing.
        stop_at_batch: number of the training batch in this process, counted from 1, before which
            the process gets the signal.
        by: number of the signal.
    """
    from lasttoken.training.sampler import EpochSampler

    seen = iter(range(1, sys.maxsize))

    real_init, real_iter = EpochSampler.__init__, EpochSampler.__iter__

    def init(self: Any, *words: Any, **options: Any) -> None:
        real_init(self, *words, **options)
        self.traced = options["epoch"], options["first_batch"]

    def iterate(self: Any) -> Any:
        epoch, first = self.traced
        for place, batch in enumerate(real_iter(self), start=first):
            if trace is not None:
                with Path(trace).open("a") as file:
                    file.write(f"{epoch} {place} {batch}\n")
            if next(seen) == stop_at_batch:
                ASKED.append(by)
                os.kill(os.getpid(), by)
            yield batch

    EpochSampler.__init__, EpochSampler.__iter__ = init, iterate  # type: ignore[method-assign]


def watch_validation(stop_in_validation: int | None, by: int) -> None:
    """Send a signal when a validation begins, the n-th of this process."""
    from lasttoken.training import fit

    real, seen = fit.validation, iter(range(1, sys.maxsize))

    def validation(*words: Any, **options: Any) -> Any:
        if next(seen) == stop_in_validation:
            os.kill(os.getpid(), by)
        return real(*words, **options)

    fit.validation = validation  # type: ignore[assignment]


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _serve() -> None:
    """Be the warm parent."""
    import lasttoken.runs.predict
    import lasttoken.runs.results
    import lasttoken.runs.train
    from lasttoken import durable
    from lasttoken.cli import main

    lasttoken.runs.results.write_plots = lambda *words: {}  # most of a tiny run's time
    for line in sys.stdin:
        job = json.loads(line)
        if "wait" in job:
            _, status = os.waitpid(job["wait"], 0)
            code = os.waitstatus_to_exitcode(status)
            _answer(128 - code if code < 0 else code)
            continue
        child = os.fork()
        if child:
            _answer(child)
            continue
        code = 1
        try:
            log = os.open(job.pop("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            words, by = job.pop("words"), job.get("by", signal.SIGKILL)
            watch_batches(job.pop("trace", None), job.pop("stop_at_batch", None), by)
            watch_validation(job.pop("stop_in_validation", None), by)
            durable.os = CallCounter(**job)  # type: ignore[attr-defined]
            code = main(words)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


if __name__ == "__main__":
    _serve()
