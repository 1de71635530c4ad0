"""The worker's side of a comparison: a gate at every step that lets through what was granted.

A contender runs in a process of its own, through its genuine entry point, and calls the gate
after each of its steps. The driver (`driver.py`) grants one contender some steps, waits, then
grants the next one some: A, B, A, B ... So both are measured under the same conditions, minute by
minute, and whoever waits at the gate uses no processor time (recorded as `idle_cpu_seconds`).

Standard library only: contenders with an environment of their own import it too.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO


class Gate:
    """Blocks at step boundaries until the driver grants more steps.

    Args:
        commands: lines of JSON from the driver.
        reports: lines of JSON to the driver.
    """

    def __init__(self, commands: TextIO, reports: TextIO) -> None:
        self._commands = commands
        self._reports = reports
        self._steps_left = 0
        self._cpu_at_wait = 0.0
        self._clear()

    def begin(self, **facts: Any) -> None:  # noqa: ANN401 - whatever JSON takes
        """Tell the driver that loading is over; wait for the first steps.

        Args:
            facts: shown beside the results, such as a sample of predictions.
        """
        self._send({"ready": True, "facts": facts, "load_peak_bytes": peak_memory_bytes()})
        self._wait()

    def step(self, lengths: Sequence[int], padded: int | None = None) -> None:
        """Note one finished step; after the last granted one, report and wait.

        Args:
            lengths: real tokens of each text of the step.
            padded: tokens computed, padding included; None if there was no padding.
        """
        now = time.perf_counter()
        self._step_seconds.append(now - self._last)
        self._last = now
        tokens = sum(lengths)
        self._totals["tokens"] += tokens
        self._totals["texts"] += len(lengths)
        self._totals["squares"] += sum(length * (length + 1) for length in lengths)
        self._totals["padded"] += tokens if padded is None else padded
        self._steps_left -= 1
        if self._steps_left == 0:
            self._send(
                {
                    "seconds": now - self._started,
                    "cpu_seconds": time.process_time() - self._cpu_started,
                    "steps": len(self._step_seconds),
                    **self._totals,
                    "step_seconds": self._step_seconds,
                }
            )
            self._wait()

    def resume(self) -> None:
        """Start the clock of the next step anew, leaving out what was done since the last one."""
        now = time.perf_counter()
        self._started += now - self._last
        self._last = now

    def finish(self, **facts: Any) -> None:  # noqa: ANN401
        """Report what a contender that runs to its own end has found, and end the process."""
        self._send({"finished": True, "peak_bytes": peak_memory_bytes(), **facts})
        os._exit(0)

    def _clear(self) -> None:
        self._totals = {"tokens": 0, "texts": 0, "squares": 0, "padded": 0}
        self._step_seconds: list[float] = []
        self._cpu_started = time.process_time()
        self._started = self._last = time.perf_counter()

    def _wait(self) -> None:
        self._cpu_at_wait = time.process_time()
        while line := self._commands.readline():
            command = json.loads(line)
            if command["do"] == "run":
                self._steps_left = command["steps"]
                self._clear()
                return
            self._send(self._answer(command))
            self._cpu_at_wait = time.process_time()
        os._exit(0)  # the driver has gone, or wants no more; nothing of ours needs a clean end

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        if command["do"] == "limits":
            from benchmarks.limits import measure_limits

            return measure_limits(command["precision"])
        idle = time.process_time() - self._cpu_at_wait
        return {"peak_bytes": peak_memory_bytes(), "idle_cpu_seconds": idle}

    def _send(self, report: dict[str, Any]) -> None:
        self._reports.write(json.dumps(report) + "\n")
        self._reports.flush()


def peak_memory_bytes() -> int:
    """Return the most memory this process has held.

    From VmHWM where there is one: getrusage's figure outlives exec, and would count the driver.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def worker_main() -> None:
    """Run the contender that the job file names; called as `python -m benchmarks.worker`."""
    import importlib

    job_file, commands, reports = sys.argv[1:4]
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    gate = Gate(os.fdopen(int(commands)), os.fdopen(int(reports), "w"))
    module, _, function = job["entry"].partition(":")
    getattr(importlib.import_module(module), function)(gate, job)
