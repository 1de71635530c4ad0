"""How long until we reach the accuracy of the tuned Trainer?

    python -m benchmarks.time_to_accuracy

SmolLM2, 2,400 movie reviews. The Trainer runs with three learning rates for one and for two
epochs; the best by validation accuracy is its entry. Ours is the fastest of `OURS` whose
validation accuracy is no lower (else the most accurate). Both are chosen with the first seed; then
both run with every seed, in turn, and what counts is the test accuracy and the seconds of these
runs: training, feature passes and choices of depth included, loading excluded for both. Each run is
kept: an interrupted program goes on.
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
    "depth 20, 1 epoch 1e-4": {"depth": 20, "num_epochs": 1, "learning_rate": 1e-4},
    "depth 20, batch 16, 1 epoch 1e-4": {
        "depth": 20,
        "batch_size": 16,
        "num_epochs": 1,
        "learning_rate": 1e-4,
    },
    "depth 17, batch 16, 1 epoch 1e-4": {
        "depth": 17,
        "batch_size": 16,
        "num_epochs": 1,
        "learning_rate": 1e-4,
    },
    "full, 1 epoch 1e-4": {"num_epochs": 1, "learning_rate": 1e-4},
}

Reports = list[dict[str, Any]]  # one a seed


def trainer_run(rate: float, epochs: int, seed: int, job: dict[str, Any]) -> Contender:
    """Return one run of the tuned Trainer."""
    settings = {"style": "tuned", "learning_rate": rate, "epochs": epochs, "seed": seed}
    name = f"Trainer {epochs} epoch {rate:g} seed {seed}"
    return Contender(name, "benchmarks.peers.trainer:fit", "bf16", {**job, **settings})


def our_run(name: str, options: dict[str, Any], seed: int, job: dict[str, Any]) -> Contender:
    """Return one run of lasttoken."""
    batch_size = options.get("batch_size", job["batch_size"])
    rest = {key: value for key, value in options.items() if key != "batch_size"}
    settings = {"batch_size": batch_size, "options": {**rest, "seed": seed}}
    return Contender(
        f"lasttoken {name} seed {seed}", "benchmarks.ours:fit", "bf16", {**job, **settings}
    )


def mean_of(runs: Reports, key: str) -> float:
    """Return the mean over seeds."""
    return mean(run[key] for run in runs)


def succeeded(runs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the settings whose run succeeded."""
    return {name: report for name, report in runs.items() if "failed" not in report}


def choose(theirs: dict[str, dict[str, Any]], ours: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """Return the settings of both that are chosen on validation, the Trainer's first."""
    validation = "validation_accuracy"
    their_name = max(theirs, key=lambda name: theirs[name][validation])
    goal = theirs[their_name][validation]
    able = [name for name in ours if ours[name][validation] >= goal]
    if able:
        return their_name, min(able, key=lambda name: ours[name]["seconds"])
    return their_name, max(ours, key=lambda name: ours[name][validation])


def verdict(their_runs: Reports, our_runs: Reports) -> dict[str, Any]:
    """Return the figures of the chosen settings, one run a seed."""
    reached = mean_of(our_runs, "test_accuracy") >= mean_of(their_runs, "test_accuracy")
    # A target that was not reached was not reached sooner: 0 times as fast.
    ratios = [
        their["seconds"] / our["seconds"] if reached else 0.0
        for their, our in zip(their_runs, our_runs, strict=True)
    ]
    figures = {
        "time_to_accuracy": figure(
            ratios, is_ratio=reached, unit="x", our_class="reduced", peer_class="bf16"
        )
    }
    for who, runs in (("Trainer", their_runs), ("lasttoken", our_runs)):
        for key in ("seconds", "load_seconds", "validation_accuracy", "test_accuracy"):
            figures[f"chosen {who} / {key}"] = figure([run[key] for run in runs])
    return figures


def main() -> None:
    """Run what is missing, choose, and compare."""
    if quick_option(__doc__):
        print("takes half an hour: not part of a quick run")
        return
    model = gpt2_folder(0.0) if SMOKE else smollm2_folder()
    job = {"model": str(model), "texts": str(review_splits()), "precision": "bf16"}
    job["batch_size"] = 32
    seeds, rates, epochs = (SEEDS[:1], RATES[:1], EPOCHS[:1]) if SMOKE else (SEEDS, RATES, EPOCHS)
    theirs, ours = {}, {}
    for name, options in OURS.items():
        ours[name] = run_once("choice", our_run(name, options, seeds[0], job))
    settings = {f"{count} epoch {rate:g}": (rate, count) for rate in rates for count in epochs}
    for name, (rate, count) in settings.items():
        theirs[name] = run_once("choice", trainer_run(rate, count, seeds[0], job))
    results = Results("time_to_accuracy", quick=False)
    details: dict[str, Any] = {"trainer": theirs, "lasttoken": ours}
    figures: dict[str, Any] = {"time_to_accuracy": {"skipped": "runs failed"}}
    if succeeded(theirs) and succeeded(ours):
        their_name, our_name = choose(succeeded(theirs), succeeded(ours))
        pairs = [
            (
                run_once("time_to_accuracy", our_run(our_name, OURS[our_name], seed, job)),
                run_once("time_to_accuracy", trainer_run(*settings[their_name], seed, job)),
            )
            for seed in seeds
        ]
        our_runs, their_runs = ([pair[place] for pair in pairs] for place in (0, 1))
        details["chosen"] = {
            "trainer": {their_name: their_runs},
            "lasttoken": {our_name: our_runs},
        }
        if not any("failed" in report for report in our_runs + their_runs):
            figures = verdict(their_runs, our_runs)
    results.add("runs", details, figures)
    results.save()


if __name__ == "__main__":
    main()
