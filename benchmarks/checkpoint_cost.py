"""What do checkpoints cost?

    python -m benchmarks.checkpoint_cost [--quick]

GPT-2 124M in bf16, batches of 32 movie reviews. Training stands still while a checkpoint is
written, and the steps behind it may be slower while the system flushes. Both are measured; the
share is that of one checkpoint every ten minutes, the default.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.driver import Contender, WorkerError, run_to_end
from benchmarks.measure import SMOKE, Results, figure
from benchmarks.models import gpt2_folder, texts_file
from benchmarks.options import quick_option
from lasttoken.config import TrainConfig

STEPS = 12  # between two checkpoints
BEHIND = 4  # steps that may be slower


def main() -> None:
    """Train with a checkpoint every few steps, and time them."""
    quick = quick_option(__doc__)
    results = Results("checkpoint_cost", quick=quick)
    job: dict[str, Any] = {
        "model": str(gpt2_folder(0.0)),
        "texts": str(texts_file("short")),
        "precision": "bf16",
        "checkpoint_steps": 2 if SMOKE else STEPS,
        "num_examples": 32 * (12 if SMOKE else STEPS * (5 if quick else 10)),
    }
    run = Contender("lasttoken bf16", "benchmarks.ours:fit_with_checkpoints", "bf16", job)
    try:
        report = run_to_end(run)
    except WorkerError as error:
        results.add("training", {"failed": str(error)}, {})
        results.save()
        return
    steps = report["step_seconds"]
    usual = median(steps)
    slower = [
        sum(steps[place : place + BEHIND]) - BEHIND * usual
        for place in range(STEPS, len(steps) - BEHIND, STEPS)
    ] or [0.0]
    extra = max(0.0, median(slower))
    interval = 60 * float(TrainConfig.checkpoint_minutes)
    shares = [100 * (seconds + extra) / interval for seconds in report["checkpoint_seconds"]]
    figures = {
        "checkpoint_share": figure(shares, unit="%"),
        "seconds a checkpoint": figure(report["checkpoint_seconds"], unit=" s"),
        f"seconds lost in {BEHIND} steps behind": figure(slower, unit=" s"),
        "seconds a step": figure(steps, unit=" s"),
        "GB a checkpoint": figure([report["checkpoint_bytes"] / 1e9], unit=" GB"),
    }
    results.add("training", report, figures)
    results.save()


if __name__ == "__main__":
    main()
