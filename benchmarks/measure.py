"""Statistics, the record of the machine, and result files."""

from __future__ import annotations

import datetime
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SCRATCH = ROOT / "runs" / "bench"  # models, texts, environments, logs: nothing to keep

# A smoke run takes a tiny model: it shows that the programs work, and nothing else.
SMOKE = bool(os.environ.get("LASTTOKEN_BENCH_SMOKE"))

REPEATS = 1 if SMOKE else 5

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8")


def figure(values: Sequence[float], **notes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the median of repeats with their spread, and every repeat."""
    return {
        "value": statistics.median(values),
        "least": min(values),
        "most": max(values),
        "repeats": [float(f"{value:.6g}") for value in values],
        **notes,
    }


def ratio_figure(
    theirs: Sequence[float],
    ours: Sequence[float],
    **notes: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Return how many times faster ours is: one ratio a repeat of the interleaved pair."""
    ratios = [their / our for their, our in zip(theirs, ours, strict=True)]
    return figure(ratios, is_ratio=True, **notes)


def is_shown(ratio: Mapping[str, Any]) -> bool:
    """Return whether a ratio shows a difference: its spread does not reach across 1."""
    return ratio["least"] > 1 or ratio["most"] < 1


def seconds_per_token(segments: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return seconds per real token of each segment."""
    return [segment["seconds"] / segment["tokens"] for segment in segments]


def cpu_flags() -> list[str]:
    """Return the processor features that decide these results."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    line = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    return [flag for flag in _FLAGS if flag in line.split()]


def machine_record() -> dict[str, Any]:
    """Return machine, processor features and versions; names no host, path or user."""
    from lasttoken.versions import machine, package_versions

    facts = dict(machine())
    facts["cpu_features"] = cpu_flags()
    return {"machine": facts, "versions": package_versions()}


class Results:
    """One program's results: figures by key, and what they were made of.

    A full run that was interrupted goes on where it stopped: parts already measured are kept in
    the scratch folder until the file is complete.

    Args:
        program: name of the program, and of its file.
        quick: few and short repeats; kept apart from full results.
    """

    def __init__(self, program: str, *, quick: bool) -> None:
        self.program = program
        self.quick = quick
        self.figures: dict[str, Any] = {}
        self.parts: dict[str, Any] = {}
        folder = SCRATCH / "smoke" if SMOKE else RESULTS / "quick" if quick else RESULTS
        self.path = folder / f"{program}.json"
        self._partial = SCRATCH / ("smoke" if SMOKE else "partial") / f"{program}.partial.json"
        if not quick and self._partial.is_file():
            saved = json.loads(self._partial.read_text(encoding="utf-8"))
            self.figures, self.parts = saved["figures"], saved["parts"]

    def has(self, part: str) -> bool:
        """Return whether a part was measured before an interruption."""
        return part in self.parts

    def add(self, part: str, details: Any, figures: Mapping[str, Any]) -> None:  # noqa: ANN401
        """Keep a measured part and its figures."""
        self.parts[part] = details
        self.figures |= figures
        if not self.quick:
            write_record(self._partial, {"figures": self.figures, "parts": self.parts})
        for name, value in figures.items():
            print(f"  {name}: {show(value)}", flush=True)

    def save(self) -> None:
        """Write the result file."""
        record = {
            "program": self.program,
            "command": command(),
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "quick": self.quick,
            "load_average": [round(load, 2) for load in os.getloadavg()],
            **machine_record(),
            "figures": self.figures,
            "parts": self.parts,
        }
        write_record(self.path, record)
        self._partial.unlink(missing_ok=True)


def show(value: Mapping[str, Any]) -> str:
    """Return a figure as a few words."""
    if "skipped" in value:
        return f"skipped: {value['skipped']}"
    unit = "x" if value.get("is_ratio") else value.get("unit", "")
    spread = f"{value['least']:.4g} to {value['most']:.4g}"
    if value.get("is_ratio") and not is_shown(value):
        return f"no difference shown ({spread})"
    return f"{value['value']:.4g}{unit} ({spread})"


def command() -> str:
    """Return the command that makes this result again."""
    program = Path(sys.argv[0]).stem
    return " ".join(["python -m", f"benchmarks.{program}", *sys.argv[1:]])


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON file that names no folder of this machine, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_without_paths(record), indent=1)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(path)


def _without_paths(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Leave no folder of this machine in what is published."""
    if isinstance(value, Mapping):
        return {key: _without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(item) for item in value]
    if isinstance(value, str):
        return value.replace(str(ROOT) + os.sep, "").replace(str(Path.home()), "~")
    return value
