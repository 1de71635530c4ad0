"""How good is each contender on each data set, with how many examples, in how many seconds?

    python -m benchmarks.quality FOLDER

FOLDER holds rt_polarity, trec6, sms_spam and go_emotions, each with train.csv, validation.csv and
test.csv; the movie reviews are the package's sample. Every cell (set, size, seed, contender) is a
process of its own and is kept in benchmarks/results/quality/; the same command goes on where it
stopped. A cell whose settings have changed since is run again. `benchmarks.quality_table` makes
docs/quality.md of what is kept.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.driver import WorkerError
from benchmarks.measure import SMOKE
from benchmarks.quality import cells, contenders, sets
from benchmarks.quality.cells import Cell
from benchmarks.quality.contenders import CONTENDERS, NotReadyError
from benchmarks.quality.run import current_settings, keep_truth, run_cell

SEEDS = (1, 2, 3)
IDLE_LOAD = 0.5
_OVERHEAD = 15.0  # seconds of starting, loading and writing, about


@dataclass(frozen=True)
class Planned:
    """A cell to run.

    Attributes:
        cell: which.
        state: "new", "changed" (kept, but with other settings) or "waits" (for another cell).
        seconds: that it may take.
    """

    cell: Cell
    state: str
    seconds: float


def selected(options: argparse.Namespace) -> list[Cell]:
    """Return the cells asked for: small sizes first, then seed by seed, set by set."""
    found = []
    for size in options.sizes:
        for seed in options.seeds:
            for data in options.sets:
                one_seed = size in sets.SETS[data].one_seed and seed != options.seeds[0]
                if size not in sets.SETS[data].sizes or one_seed:
                    continue
                for name in options.contenders:
                    if contenders.takes_part(name, data, size):
                        cell = Cell(data, size, seed, name)
                        found += [each for each in contenders.candidates(cell) if each not in found]
                        found.append(cell)
    return found


def plan(wanted: Sequence[Cell], folder: Path, *, again: bool) -> list[Planned]:
    """Return what has to run, in order."""
    measured: dict[str, list[tuple[float, float]]] = {}
    todo = []
    for cell in wanted:
        record, state = cells.read(cell), "new"
        try:
            settings = current_settings(cell, folder)
        except NotReadyError:
            settings, state = None, "waits"
        seconds = estimate(cell, settings, folder)
        if record and seconds:
            pair = (seconds, record["total_seconds"])
            measured.setdefault(cell.contender, []).append(pair)
        if record is None or again or record["settings"] != settings:
            todo.append(Planned(cell, "changed" if record and settings else state, seconds))
    pace = {
        name: sum(pair[1] for pair in pairs) / sum(pair[0] for pair in pairs)
        for name, pairs in measured.items()
    }
    return [replace(p, seconds=p.seconds * pace.get(p.cell.contender, 1.0)) for p in todo]


def estimate(cell: Cell, settings: dict[str, Any] | None, folder: Path) -> float:
    """Return about how many seconds a cell takes."""
    if contenders.is_taken_over(cell):
        return 0.0
    splits = sets.read_set(cell.data, folder)
    characters = {
        part: sum(map(len, split.texts)) / len(split.texts) for part, split in splits.items()
    }
    most = {part: len(split.texts) for part, split in splits.items()}
    if cell.size == str(sets.FEW):
        most["train"] = sets.FEW * len(sets.label_names(cell.data, folder))
    elif cell.size != "all":
        most["train"] = min(most["train"], int(cell.size))
    most["validation"] = min(most["validation"], most["train"])
    work = {part: most[part] * characters[part] for part in most}
    per_pass = CONTENDERS[cell.contender].seconds
    read = work["validation"] + work["test"]
    return _OVERHEAD + per_pass * (work["train"] * contenders.passes(cell, settings) + read / 3)


def tell(todo: Sequence[Planned], wanted: Sequence[Cell]) -> None:
    """Print the plan."""
    total = sum(each.seconds for each in todo)
    kept = len(wanted) - len(todo)
    print(f"{len(wanted):,} cells: {kept:,} kept, {len(todo):,} to run, about {spoken(total)}")
    for size in sets.SIZES:
        for data in sets.SETS:
            here = [each for each in todo if (each.cell.size, each.cell.data) == (size, data)]
            names = {each.cell.contender: 0 for each in here}
            for each in here:
                names[each.cell.contender] += 1
            if here:
                words = ", ".join(f"{name} {count}" for name, count in names.items())
                seconds = spoken(sum(each.seconds for each in here))
                print(f"  {size:>5} {data:<14} {seconds:>8}  {words}")
    changed = [each.cell.name for each in todo if each.state == "changed"]
    if changed:
        print(f"  {len(changed):,} are kept with other settings and run again: {changed[0]} ...")
    sys.stdout.flush()


def spoken(seconds: float) -> str:
    """Return a time in words."""
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{max(0.0, seconds) / 60:.0f} min"


def reason(error: Exception) -> str:
    """Return the message at the end of a worker's log, without the traceback before it."""
    return str(error).rpartition("Error: ")[2]  # all of it, where there is no traceback


def run_all(todo: Sequence[Planned], options: argparse.Namespace) -> int:
    """Run the plan until it or the time is over; returns how many cells failed."""
    started = time.monotonic()
    left = sum(each.seconds for each in todo)
    took = expected = 0.0
    failed = 0
    for number, each in enumerate(todo, start=1):
        elapsed = time.monotonic() - started
        pace = took / expected if expected else 1.0
        if options.limit_minutes and elapsed + pace * each.seconds > 60 * options.limit_minutes:
            print(
                f"{each.cell.name} would not end within {options.limit_minutes:g} minutes; the "
                f"same command goes on with it, about {spoken(pace * left)} are left"
            )
            break
        begun = time.monotonic()
        try:
            record = run_cell(each.cell, options.folder, options.threads)
            told = (
                f"{record['metric']} {record['test']:.4f} (validation "
                f"{record['validation']:.4f}), {record['seconds']:.0f} s"
            )
        except (NotReadyError, WorkerError, OSError) as error:
            told, failed = f"failed: {reason(error)}", failed + 1
        else:
            took, expected = took + time.monotonic() - begun, expected + each.seconds
        left -= each.seconds
        pace = took / expected if expected else 1.0
        print(
            f"[{number}/{len(todo)}] {each.cell.name}: {told}; about {spoken(pace * left)} left",
            flush=True,
        )
    return failed


def chosen_options() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def words(known: Sequence[str], default: Sequence[str]) -> dict[str, object]:
        return {"nargs": "+", "choices": list(known), "default": list(default), "metavar": "NAME"}

    sizes = [size for size in sets.SIZES if size != "all"]
    add = parser.add_argument
    add("folder", type=Path)
    add("--sets", **words(list(sets.SETS), list(sets.SETS)), help=", ".join(sets.SETS))  # type: ignore[arg-type]
    add(
        "--sizes",
        **words(sets.SIZES, sizes),  # type: ignore[arg-type]
        help=", ".join(sets.SIZES) + "; all is not in the default",
    )
    add("--seeds", type=int, nargs="+", default=list(SEEDS[:1] if SMOKE else SEEDS))
    names = list(CONTENDERS)
    add("--contenders", **words(names, names), help=", ".join(names))  # type: ignore[arg-type]
    add("--limit-minutes", type=float, help="start no cell that would end later")
    add("--threads", type=int, default=os.cpu_count() or 1, help="of each contender")
    add("--again", action="store_true", help="measure kept cells anew")
    add("--plan", action="store_true", help="print the plan, and run nothing")
    options = parser.parse_args()
    missing = [name for name in options.sets if not sets.is_there(name, options.folder)]
    if missing:
        parser.error(f"{options.folder} does not hold {', '.join(missing)}; --sets chooses others")
    return options


def main() -> int:
    """Plan, then run; returns the exit code."""
    options = chosen_options()
    try:
        for data in options.sets:
            keep_truth(data, options.folder)
    except NotReadyError as error:
        raise SystemExit(str(error)) from None
    wanted = selected(options)
    todo = plan(wanted, options.folder, again=options.again)
    tell(todo, wanted)
    busy = os.getloadavg()[0]
    if busy > IDLE_LOAD:
        print(f"other programs are running (load {busy:.1f}): seconds will be too many")
    return 0 if options.plan else min(1, run_all(todo, options))


if __name__ == "__main__":
    sys.exit(main())
