"""The driver's side: starts contenders, grants them steps in turn, collects what they report."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, SCRATCH


@dataclass(frozen=True)
class Contender:
    """One way to do the job.

    Attributes:
        name: as shown.
        entry: "module:function" that takes a gate and the job.
        kind: "fp32", "bf16", "int8" or "reduced": classes are never mixed silently.
        job: what the entry needs: model folder, texts file, batch size ...
        steps: granted at a time; None takes the comparison's number.
        python: of another environment; None is this one.
        limits: measure GEMM peak and bandwidth in its process, before and after.
    """

    name: str
    entry: str
    kind: str
    job: Mapping[str, Any]
    steps: int | None = None
    python: str | None = None
    limits: bool = False


@dataclass
class Measured:
    """What a contender reported.

    Attributes:
        kind: its class.
        segments: one a repeat.
        facts: what it told when it was ready.
        limits: of the machine, before and after.
        peak_bytes: most memory held, limits not measured yet.
        idle_cpu_seconds: processor time it used while others ran; should be about 0.
    """

    kind: str
    segments: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    peak_bytes: int = 0
    idle_cpu_seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """Return it for a result file; single steps are left out."""
        segments = [
            {key: value for key, value in segment.items() if key != "step_seconds"}
            for segment in self.segments
        ]
        return {**vars(self), "segments": segments}


class WorkerError(RuntimeError):
    """A contender ended before its time; the text is the end of its log."""


class Worker:
    """The process of one contender.

    Args:
        contender: whom to start.
        threads: that it computes with.
    """

    def __init__(self, contender: Contender, threads: int) -> None:
        self.contender = contender
        logs = SCRATCH / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self._log = logs / (contender.name.replace(" ", "-").replace("/", "-") + ".log")
        with tempfile.NamedTemporaryFile(
            "w", dir=logs, prefix="job-", suffix=".json", delete=False
        ) as file:
            json.dump({**contender.job, "entry": contender.entry, "threads": threads}, file)
        self._job_file = Path(file.name)
        commands_read, commands_write = os.pipe()
        reports_read, reports_write = os.pipe()
        # The OpenMP of torch's wheels (GNU's) lets a thread that waits spin for about 1 ms, then
        # sleep: idle contenders cost nothing, and no setting changes what a user would measure.
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src"))),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TOKENIZERS_PARALLELISM": "true",
        }
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    contender.python or sys.executable,
                    *("-m", "benchmarks.worker", self._job_file),
                    *(str(commands_read), str(reports_write)),
                ],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(commands_read, reports_write),
            )
        os.close(commands_read)
        os.close(reports_write)
        self._commands = os.fdopen(commands_write, "w")
        self._reports = os.fdopen(reports_read)

    def receive(self) -> dict[str, Any]:
        """Return the next report.

        Raises:
            WorkerError: the process ended instead.
        """
        line = self._reports.readline()
        if not line:
            code = self._process.wait()
            lines = self._log.read_text(errors="replace").strip().splitlines()
            raise WorkerError(f"exit {code}: " + " | ".join(lines[-4:]))
        report: dict[str, Any] = json.loads(line)
        return report

    def ask(self, **command: Any) -> dict[str, Any]:  # noqa: ANN401
        """Send a command and return its report."""
        try:
            self._commands.write(json.dumps(command) + "\n")
            self._commands.flush()
        except BrokenPipeError:
            pass  # `receive` tells why
        return self.receive()

    def stop(self) -> None:
        """End the process."""
        for pipe in (self._commands, self._reports):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._job_file.unlink(missing_ok=True)


def compare(
    contenders: Sequence[Contender],
    *,
    steps: int,
    repeats: int,
    threads: int | None = None,
) -> tuple[dict[str, Measured], dict[str, str]]:
    """Measure contenders in turn, after one segment each to warm up.

    Args:
        contenders: in the order in which they run.
        steps: granted at a time.
        repeats: segments measured of each.
        threads: of each contender; None is one a core.

    Returns:
        What each reported, and why others failed, by name.
    """
    threads = threads or os.cpu_count() or 1
    workers: dict[str, Worker] = {}
    measured: dict[str, Measured] = {}
    failed: dict[str, str] = {}

    def fail(name: str, error: Exception) -> None:
        failed[name] = str(error)
        print(f"  {name} failed: {error}", file=sys.stderr, flush=True)
        workers.pop(name).stop()
        measured.pop(name, None)

    try:
        for contender in contenders:
            workers[contender.name] = Worker(contender, threads)
            try:
                facts = workers[contender.name].receive()["facts"]  # loads while all others wait
                measured[contender.name] = Measured(contender.kind, facts=facts)
            except (WorkerError, FileNotFoundError) as error:
                fail(contender.name, error)
        for repeat in range(repeats + 1):
            for name, worker in list(workers.items()):
                try:
                    state = worker.ask(do="state")
                    segment = worker.ask(do="run", steps=worker.contender.steps or steps)
                except WorkerError as error:
                    fail(name, error)
                    continue
                if repeat == 0:
                    # Measured once the warm-up is over, as the run begins.
                    measured[name].peak_bytes = worker.ask(do="state")["peak_bytes"]
                    _limits(worker, measured[name], "before")
                else:
                    measured[name].segments.append(segment)
                    measured[name].idle_cpu_seconds += state["idle_cpu_seconds"]
        for name, worker in workers.items():
            _limits(worker, measured[name], "after")
    finally:
        for worker in workers.values():
            worker.stop()
    return measured, failed


def run_to_end(contender: Contender, threads: int | None = None) -> dict[str, Any]:
    """Run a contender that knows its own end; returns what it found.

    Raises:
        WorkerError: it failed.
    """
    worker = Worker(contender, threads or os.cpu_count() or 1)
    try:
        return worker.receive()
    finally:
        worker.stop()


def _limits(worker: Worker, measured: Measured, when: str) -> None:
    if worker.contender.limits:
        measured.limits[when] = worker.ask(do="limits", precision=measured.kind)
