"""Does the report help? Calibration, abstaining and its own cost, on real data.

    python -m benchmarks.report_quality [FOLDER ...]

Each FOLDER holds train, validation and test tables; without one, the sample reviews alone. SmolLM2
is trained on 2,000 examples for two epochs; the test examples then tell whether temperature scaling
lowered the calibration error, whether a target accuracy was kept, and what the report cost.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from benchmarks.measure import SCRATCH, Results, figure

SETTINGS = ("--model", "smollm2", "--limit", "2000", "--num-epochs", "2", "--learning-rate", "1e-4")


def main() -> None:
    """Train on each data set, and collect what its report tells."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", help="folders of train, validation, test tables")
    folders = parser.parse_args().folders or ["movie-reviews"]
    results = Results("report_quality", quick=False)
    for data in folders:
        name = Path(data).name
        if results.has(name):
            continue
        run = SCRATCH / "report-quality" / name
        words = ["-m", "lasttoken", "train", data, *SETTINGS, "--output-dir", str(run)]
        subprocess.run([sys.executable, *words], check=True)
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        figures = _figures(metrics, record)
        results.add(name, _facts(metrics, run), {f"{name}: {key}": figures[key] for key in figures})

    results.save()


def _facts(metrics: dict[str, Any], run: Path) -> dict[str, Any]:
    """Return what stands beside the figures: intervals, targets, labels that scaling changed."""
    import pyarrow.parquet as pq

    columns = pq.read_table(run / "predictions" / "test.parquet").to_pydict()
    logits = np.array(columns["logits"])
    calibration = metrics["calibration"]
    before = softmax(logits * calibration["temperature"], axis=1).argmax(axis=1)
    return {
        "settings": list(SETTINGS),
        "test_examples": metrics["test"]["num_examples"],
        "validation_examples": metrics["validation"]["num_examples"],
        "accuracy_interval": metrics["test"]["intervals"]["accuracy"],
        "ece_interval_before": calibration["before"]["ece_interval"],
        "ece_interval_after": calibration["after"]["ece_interval"],
        "labels_changed_by_scaling": int((before != logits.argmax(axis=1)).sum()),
        "targets": metrics["abstaining"]["targets"],
        "most_promised": metrics["abstaining"]["most_promised"],
    }


def _figures(metrics: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    calibration, seconds = metrics["calibration"], record["results"]["seconds"]
    report = seconds["measure"] + seconds["report"]
    found = {
        "accuracy": figure([metrics["test"]["accuracy"]]),
        "temperature": figure([calibration["temperature"]]),
        "ece before": figure([calibration["before"]["ece"]]),
        "ece after": figure([calibration["after"]["ece"]]),
        "log loss before": figure([calibration["before"]["log_loss"]]),
        "log loss after": figure([calibration["after"]["log_loss"]]),
        "report, seconds": figure([report], unit=" s"),
        "report, percent of the run": figure([100 * report / sum(seconds.values())], unit="%"),
    }
    for target in metrics["abstaining"]["targets"]:
        if target["threshold"] is not None:
            wished, test = target["target_accuracy"], target["test"]
            found[f"coverage at {wished}"] = figure([test["coverage"]])
            found[f"accuracy at {wished}"] = figure([test["accuracy"]])
    return found


if __name__ == "__main__":
    main()
