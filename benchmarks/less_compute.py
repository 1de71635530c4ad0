"""What does training only the last three blocks save, and what does it cost?

    python -m benchmarks.less_compute

SmolLM2, 2,400 movie reviews, three epochs, two seeds: `trainable="last-3"` (the rest computed once
and kept), of all blocks and of as many as `depth="auto"` keeps, beside full training. Whole
trainings, the passes over the frozen blocks included.
"""

from __future__ import annotations

from typing import Any

from benchmarks.driver import Contender
from benchmarks.measure import SMOKE, Results, figure, ratio_figure
from benchmarks.models import gpt2_folder, smollm2_folder
from benchmarks.options import quick_option
from benchmarks.whole_runs import review_splits, run_once

SEEDS = (1, 2)
# Each with a rate that suits it: few blocks bear, and need, a larger one.
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {"num_epochs": 3, "learning_rate": 5e-5},
    "last-3": {"num_epochs": 3, "learning_rate": 2e-4, "trainable": "last-3"},
    "last-3 of depth auto": {
        "num_epochs": 3,
        "learning_rate": 2e-4,
        "trainable": "last-3",
        "depth": "auto",
    },
}
KEYS = {"last-3": "last3", "last-3 of depth auto": "last3_auto"}


def main() -> None:
    """Run both in turn."""
    if quick_option(__doc__):
        print("takes half an hour: not part of a quick run")
        return
    model = gpt2_folder(0.0) if SMOKE else smollm2_folder()
    job = {
        "model": str(model),
        "texts": str(review_splits()),
        "precision": "bf16",
        "batch_size": 32,
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SETTINGS}
    for seed in SEEDS[:1] if SMOKE else SEEDS:
        for name in reversed(SETTINGS):  # an unknown argument shows before minutes are spent
            options = {**SETTINGS[name], "seed": seed}
            contender = Contender(
                f"{name} seed {seed}", "benchmarks.ours:fit", "bf16", {**job, "options": options}
            )
            report = run_once("less_compute", contender)
            runs[name].append(report)
            if "failed" in report:
                break
    results = Results("less_compute", quick=False)
    failed = [run["failed"] for reports in runs.values() for run in reports if "failed" in run]
    figures: dict[str, Any] = {}
    if failed:
        for key in KEYS.values():
            figures[f"{key}_vs_full"] = figures[f"{key}_accuracy_loss"] = {"skipped": failed[0]}
    else:
        seconds = {name: [run["seconds"] for run in reports] for name, reports in runs.items()}
        accuracies = {
            name: [run["test_accuracy"] for run in reports] for name, reports in runs.items()
        }
        for name, key in KEYS.items():
            losses = [
                100 * (full - few)
                for full, few in zip(accuracies["full"], accuracies[name], strict=True)
            ]
            figures[f"{key}_vs_full"] = ratio_figure(
                seconds["full"], seconds[name], our_class="reduced", peer_class="bf16"
            )
            figures[f"{key}_accuracy_loss"] = figure(losses, unit=" points")
        for name in SETTINGS:
            figures[f"{name} / seconds"] = figure(seconds[name])
            figures[f"{name} / test accuracy"] = figure(accuracies[name])
    results.add("runs", runs, figures)
    results.save()


if __name__ == "__main__":
    main()
