"""Makes docs/performance.md and the lines of `make bench` from result files.

python -m benchmarks.table
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, ROOT, is_shown, show
from benchmarks.targets import TARGETS, Target, judge

PAGE = ROOT / "docs" / "performance.md"
PROGRAMS = (
    "training_speed",
    "fixed_padding",
    "prediction_speed",
    "latency",
    "shared_prompt",
    "memory",
    "startup",
    "checkpoint_cost",
    "precision",
    "export",
    "small_models",
    "scaling",
    "switches",
    "less_compute",
    "time_to_accuracy",
)


def read_result(program: str, *, quick: bool) -> dict[str, Any] | None:
    """Return a program's last result, or None."""
    path = (RESULTS / "quick" if quick else RESULTS) / f"{program}.json"
    if not path.is_file():
        return None
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def best_result(program: str) -> dict[str, Any] | None:
    """Return a program's last full result, else its last quick one, or None."""
    return read_result(program, quick=False) or read_result(program, quick=True)


def rows(*, quick: bool) -> list[tuple[Target, Mapping[str, Any] | None, str, str]]:
    """Return target, figure, verdict and date of each row."""
    found = []
    for target in TARGETS:
        stored = not quick or target.full_only
        result = best_result(target.program) if stored else read_result(target.program, quick=True)
        figure = result["figures"].get(target.key) if result else None
        date = result["date"][:10] if result and quick and stored else ""
        found.append((target, figure, judge(target, figure), date))
    return found


def lines(*, quick: bool) -> list[str]:
    """Return the table for a terminal."""
    form = "{:<42} {:>9} {:>19} {:>7} {:>7}  {}"
    told = [form.format("", "measured", "spread", "must", "goal", "pass")]
    for target, figure, verdict, date in rows(quick=quick):
        value, spread = _cells(target, figure)
        limits = (f"{target.must:g}{target.unit}", f"{target.goal:g}{target.unit}")
        told.append(
            form.format(target.name, value, spread, *limits, verdict)
            + (f" (measured {date})" if date else "")
            + _reason(figure)
        )
    return told


def _cells(target: Target, figure: Mapping[str, Any] | None) -> tuple[str, str]:
    if figure is None or "value" not in figure:
        return "-", "-"
    spread = f"{figure['least']:.3g} to {figure['most']:.3g}"
    if figure.get("is_ratio") and not is_shown(figure):
        return "-", spread
    return f"{figure['value']:.3g}{target.unit}", spread


def _reason(figure: Mapping[str, Any] | None) -> str:
    return f": {figure['skipped']}" if figure and "skipped" in figure else ""


def page() -> str:
    """Return docs/performance.md."""
    results = {program: best_result(program) for program in PROGRAMS}
    there = {program: result for program, result in results.items() if result}
    text = [
        "# Performance",
        "",
        "Written by `python -m benchmarks.table` from `benchmarks/results/`; what is measured and",
        "how stands in [benchmarks/README.md](../benchmarks/README.md). Contenders run in turn,",
        "minute by minute; values are medians with the least and the most of all repeats. No ratio",
        "is shown where its spread reaches across 1. A program without a full result shows its",
        "last quick one, and says so.",
        "",
    ]
    first = next(iter(there.values()), None)
    if first:
        machine, versions = first["machine"], first["versions"]
        text += [
            f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['threads']} "
            f"threads ({', '.join(machine['cpu_features'])}); "
            + ", ".join(f"{name} {version}" for name, version in versions.items())
            + ".",
            "",
        ]
    text += ["| | classes | measured | spread | must | goal | |", "| --- " * 7 + "|"]
    for target, figure, verdict, _ in rows(quick=False):
        value, spread = _cells(target, figure)
        unit = target.unit
        text.append(
            f"| {target.name} | {target.classes} | {value} | {spread} | {target.must:g}{unit} "
            f"| {target.goal:g}{unit} | {verdict}{_reason(figure)} |"
        )
    for program, result in there.items():
        text += ["", f"## {program.replace('_', ' ').capitalize()}", ""]
        extent = "few and short repeats" if result["quick"] else "full"
        text += [f"`{result['command']}`, {result['date']}, {extent}.", ""]
        text += ["| figure | median (least to most) |", "| --- | --- |"]
        text += [f"| {name} | {show(value)} |" for name, value in result["figures"].items()]
        for part in result["parts"].values():
            failed = part.get("failed") if isinstance(part, dict) else None
            if isinstance(failed, dict):
                text += [f"| {name} | could not be had: {why} |" for name, why in failed.items()]
    return "\n".join(text) + "\n"


def write_page(path: Path = PAGE) -> None:
    """Write docs/performance.md."""
    path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write_page()
