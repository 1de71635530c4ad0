"""What a result was made with and what it cost: versions, machine, memory, seconds."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib import metadata

_RECORDED = ("lasttoken", "torch", "transformers", "accelerate", "peft", "tokenizers",
             "scikit-learn")  # fmt: skip


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide the numbers."""
    versions = {"python": platform.python_version()}
    for name in _RECORDED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a source tree that is not installed
            versions[name] = "not installed"
    return versions


def machine() -> dict[str, str | int]:
    """Return what the machine is and how many threads compute; torch must be imported."""
    import torch

    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith("model name")]
        return lines[0].partition(":")[2].strip() if lines else platform.processor()
    except OSError:  # no Linux
        return platform.processor()


def peak_memory_bytes() -> int | None:
    """Return the most memory this process has held so far, or None where the system is mute."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes but for macOS


class Stopwatch:
    """Wall seconds of a run's phases, one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Give `phase` the seconds since the last lap."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """Return the seconds of all laps."""
        return sum(self.seconds.values())
