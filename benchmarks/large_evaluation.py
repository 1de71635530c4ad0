"""What does an evaluation of 100,000 texts hold in memory?

    python -m benchmarks.large_evaluation RUN

RUN is a finished run on the sample reviews, such as that of `make demo`. The first six words
of the test reviews are numbered, so that no text equals another, until there are 100,000. The
evaluation runs in a process of its own, whose peak is read.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measure import SCRATCH, SMOKE, Results, figure
from lasttoken.data.movie_reviews import read_movie_reviews

NUM_TEXTS = 1_000 if SMOKE else 100_000
NUM_WORDS = 6  # of a review: what is asked is memory, and whole ones would take half an hour


def main() -> None:
    """Write the texts, evaluate, and read the peak."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    test = read_movie_reviews()["test"]
    data = SCRATCH / "large" / "texts.csv"
    data.parent.mkdir(parents=True, exist_ok=True)
    with data.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "part"))
        for number in range(NUM_TEXTS):
            example = test[number % len(test)]
            words = " ".join(example.text.split()[:NUM_WORDS])
            writer.writerow((f"{number}: {words}", example.label, f"part {number % 7}"))
    words = ["evaluate", str(run), str(data), "--slice-by", "part", "--overwrite"]
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lasttoken", *words], check=True)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    metrics = json.loads((run / "evaluations" / "texts" / "metrics.json").read_text("utf-8"))
    results = Results("large_evaluation", quick=False)
    results.add(
        f"{NUM_TEXTS:,} texts",
        {"cost": metrics["run"]["Cost"], "report_bytes": _size(run, "report.html")},
        {
            "peak memory": figure([peak / 2**30], unit=" GiB"),
            "seconds": figure([seconds], unit=" s"),
        },
    )
    results.save()


def _size(run: Path, name: str) -> int:
    return (run / "evaluations" / "texts" / name).stat().st_size


if __name__ == "__main__":
    main()
