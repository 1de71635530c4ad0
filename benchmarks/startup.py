"""How soon does the command line answer?

    python -m benchmarks.startup [--quick]

Wall seconds of `lasttoken --help` in a fresh process, and of importing what training needs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks.measure import ROOT, Results, figure
from benchmarks.options import quick_option

COMMANDS = {
    "startup_help": [sys.executable, "-m", "lasttoken", "--help"],
    "startup_import": [sys.executable, "-c", "from lasttoken import TextClassifier"],
    "startup_python": [sys.executable, "-c", "pass"],
}


def main() -> None:
    """Measure in turn."""
    quick = quick_option(__doc__)
    results = Results("startup", quick=quick)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for repeat in range(6 if quick else 11):
        for name, command in COMMANDS.items():
            if quick and name == "startup_import":
                continue
            started = time.perf_counter()
            subprocess.run(command, check=True, env=environment, capture_output=True)
            if repeat:  # the first call reads from the disk
                seconds[name].append(time.perf_counter() - started)
    figures = {name: figure(values, unit=" s") for name, values in seconds.items() if values}
    results.add("seconds", seconds, figures)
    results.save()


if __name__ == "__main__":
    main()
