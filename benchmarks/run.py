"""Runs the bench, and fails if a must is missed.

python -m benchmarks.run            everything; at most 3 hours, goes on where it stopped
python -m benchmarks.run --quick    under 10 minutes; long rows are read from stored results
python -m benchmarks.run --fresh    everything anew
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time

from benchmarks import environments, models, whole_runs
from benchmarks.measure import ROOT, SCRATCH
from benchmarks.table import PROGRAMS, lines, rows, write_page
from benchmarks.targets import is_passed

HOURS = 3.0
QUICK = ("training_speed", "prediction_speed", "latency", "shared_prompt", "memory", "startup")
_IDLE_LOAD = 0.5
_FINISHED = SCRATCH / "finished.json"


def main() -> int:
    """Run what is missing, print a line a row; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a subset, in under 10 minutes")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    parser.add_argument("--hours", type=float, default=HOURS, help="stop starting programs after")
    options = parser.parse_args()
    started = time.monotonic()
    if options.fresh:
        _FINISHED.unlink(missing_ok=True)
        for folder in (whole_runs.FOLDER, SCRATCH / "partial"):
            shutil.rmtree(folder, ignore_errors=True)
    busy = os.getloadavg()[0]
    if busy > _IDLE_LOAD:
        print(f"other programs are running (load {busy:.1f}): ratios will scatter")
    environments.main()
    models.main()
    finished = [] if options.quick or not _FINISHED.is_file() else _read_finished()
    for program in QUICK if options.quick else PROGRAMS:
        if program in finished:
            continue
        hours = (time.monotonic() - started) / 3600
        if hours > options.hours:
            print(f"{hours:.1f} hours are over; the same command goes on with {program}")
            return 1
        print(f"== {program}", flush=True)
        flags = ["--quick"] if options.quick else []
        code = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{program}", *flags], cwd=ROOT, check=False
        ).returncode
        if code:
            print(f"{program}: exit {code}", file=sys.stderr)
        elif not options.quick:
            finished.append(program)
            _FINISHED.write_text(json.dumps(finished), encoding="utf-8")
    print("\n".join(["", *lines(quick=options.quick)]))
    print(f"{(time.monotonic() - started) / 60:.1f} minutes")
    write_page()
    if not options.quick and len(finished) == len(PROGRAMS):
        _FINISHED.unlink(missing_ok=True)  # the next full run starts anew
        shutil.rmtree(whole_runs.FOLDER, ignore_errors=True)
    passed = [is_passed(verdict) for _, _, verdict, _ in rows(quick=options.quick)]
    return 0 if all(passed) else 1


def _read_finished() -> list[str]:
    finished: list[str] = json.loads(_FINISHED.read_text(encoding="utf-8"))
    return finished


if __name__ == "__main__":
    sys.exit(main())
