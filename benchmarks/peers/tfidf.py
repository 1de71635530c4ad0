"""TF-IDF of words and word pairs with logistic regression: the baseline of every lasttoken run."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.gate import Gate
from benchmarks.models import read_texts


def fit(gate: Gate, job: dict[str, Any]) -> None:
    """Fit and score; seconds are those of both, the choice of the penalty included."""
    from lasttoken.evaluation.baseline import tfidf_baseline

    content = read_texts(job["texts"])
    labels = sorted(set(content["train"]["labels"]))
    ids = {
        split: np.array([labels.index(label) for label in content[split]["labels"]])
        for split in ("train", "test")
    }
    started = time.perf_counter()
    result = tfidf_baseline(
        content["train"]["texts"],
        ids["train"],
        content["test"]["texts"],
        ids["test"],
        labels,
        seed=job.get("seed", 123),
    )
    seconds = time.perf_counter() - started
    accuracy = result.metrics.accuracy if result.metrics else float("nan")
    gate.finish(load_seconds=0.0, seconds=seconds, test_accuracy=float(accuracy))
