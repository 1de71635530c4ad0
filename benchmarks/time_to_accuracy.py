"""How long until we reach the accuracy of the tuned Trainer?

    python -m benchmarks.time_to_accuracy

SmolLM2, 2,400 movie reviews. The Trainer runs with three learning rates for one and for two
epochs; the best by validation accuracy (mean of two seeds) is its entry, at that one run's time.
Ours is the fastest of `OURS` whose validation accuracy is no lower (else the most accurate). What
counts then is test accuracy. Seconds are those of training, feature passes and choices of depth
included, loading excluded for both. Each run is kept: an interrupted program goes on.
"""

from __future__ import annotations

from statistics import mean
from typing import Any

from benchmarks.driver import Contender
from benchmarks.measure import SMOKE, Results, figure
from benchmarks.models import gpt2_folder, smollm2_folder
from benchmarks.options import quick_option
from benchmarks.whole_runs import review_splits, run_once

SEEDS = (1, 2)
RATES = (2e-5, 5e-5, 1e-4)
EPOCHS = (1, 2)

# Candidates; one that this version has no arguments for is skipped.
OURS: dict[str, dict[str, Any]] = {
    "probe, depth auto": {"trainable": "probe", "depth": "auto"},
    "depth auto, 1 epoch 1e-4": {"depth": "auto", "num_epochs": 1, "learning_rate": 1e-4},
    "depth 17, 1 epoch 1e-4": {"depth": 17, "num_epochs": 1, "learning_rate": 1e-4},
    "depth 20, 1 epoch 1e-4": {"depth": 20, "num_epochs": 1, "learning_rate": 1e-4},
    "depth 17, last-6, 2 epochs 1e-4": {
        "depth": 17,
        "trainable": "last-6",
        "num_epochs": 2,
        "learning_rate": 1e-4,
    },
    "full, 1 epoch 1e-4": {"num_epochs": 1, "learning_rate": 1e-4},
}

Runs = dict[str, list[dict[str, Any]]]  # name of the settings: a report for each seed


def trainer_run(rate: float, epochs: int, seed: int, job: dict[str, Any]) -> Contender:
    """Return one run of the tuned Trainer."""
    settings = {"style": "tuned", "learning_rate": rate, "epochs": epochs, "seed": seed}
    name = f"Trainer {epochs} epoch {rate:g} seed {seed}"
    return Contender(name, "benchmarks.peers.trainer:fit", "bf16", {**job, **settings})


def our_run(name: str, options: dict[str, Any], seed: int, job: dict[str, Any]) -> Contender:
    """Return one run of lasttoken."""
    settings = {"options": {**options, "seed": seed}}
    return Contender(
        f"lasttoken {name} seed {seed}", "benchmarks.ours:fit", "bf16", {**job, **settings}
    )


def mean_of(runs: list[dict[str, Any]], key: str) -> float:
    """Return the mean over seeds."""
    return mean(run[key] for run in runs)


def complete(runs: Runs) -> Runs:
    """Return the settings of which every seed succeeded."""
    return {
        name: reports
        for name, reports in runs.items()
        if reports and not any("failed" in report for report in reports)
    }


def verdict(theirs: Runs, ours: Runs) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was chosen, and the figures; the runs are complete."""
    validation = "validation_accuracy"
    their_name = max(theirs, key=lambda name: mean_of(theirs[name], validation))
    goal = mean_of(theirs[their_name], validation)
    able = [name for name in ours if mean_of(ours[name], validation) >= goal]
    if able:
        our_name = min(able, key=lambda name: mean_of(ours[name], "seconds"))
    else:
        our_name = max(ours, key=lambda name: mean_of(ours[name], validation))
    pairs = list(zip(theirs[their_name], ours[our_name], strict=True))
    reached = mean_of(ours[our_name], "test_accuracy") >= mean_of(
        theirs[their_name], "test_accuracy"
    )
    # A target that was not reached was not reached sooner: 0 times as fast.
    ratios = [their["seconds"] / our["seconds"] if reached else 0.0 for their, our in pairs]
    figures = {
        "time_to_accuracy": figure(
            ratios, is_ratio=reached, unit="x", our_class="reduced", peer_class="bf16"
        )
    }
    for who, name, runs in (("Trainer", their_name, theirs), ("lasttoken", our_name, ours)):
        for key in ("seconds", "load_seconds", "validation_accuracy", "test_accuracy"):
            figures[f"chosen {who} / {key}"] = figure([run[key] for run in runs[name]])
    return {"trainer": their_name, "ours": our_name, "reached": reached}, figures


def main() -> None:
    """Run what is missing, choose, and compare."""
    if quick_option(__doc__):
        print("takes an hour: not part of a quick run")
        return
    model = gpt2_folder(0.0) if SMOKE else smollm2_folder()
    job = {"model": str(model), "texts": str(review_splits()), "precision": "bf16"}
    job["batch_size"] = 32
    seeds, rates, epochs = (SEEDS[:1], RATES[:1], EPOCHS[:1]) if SMOKE else (SEEDS, RATES, EPOCHS)
    theirs: Runs = {}
    ours: Runs = {}
    for seed in seeds:
        for name, options in OURS.items():
            report = run_once("time_to_accuracy", our_run(name, options, seed, job))
            ours.setdefault(name, []).append(report)
        for rate in rates:
            for count in epochs:
                contender = trainer_run(rate, count, seed, job)
                report = run_once("time_to_accuracy", contender)
                theirs.setdefault(f"{count} epoch {rate:g}", []).append(report)
    results = Results("time_to_accuracy", quick=False)
    if complete(theirs) and complete(ours):
        chosen, figures = verdict(complete(theirs), complete(ours))
    else:
        chosen, figures = {}, {"time_to_accuracy": {"skipped": "runs failed"}}
    results.add("runs", {"trainer": theirs, "lasttoken": ours, "chosen": chosen}, figures)
    results.save()


if __name__ == "__main__":
    main()
