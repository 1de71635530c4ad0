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


def fit_logistic(gate: Gate, job: dict[str, Any]) -> None:
    """Fit; report seconds and the probabilities of validation and test texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    from benchmarks.peers import logistic
    from benchmarks.quality.scores import flags_of

    content = read_texts(job["texts"])
    started = time.perf_counter()
    # As the package's baseline: words of one character too.
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"
    )
    features = vectorizer.fit_transform(content["train"]["texts"])
    truth = flags_of(content["train"]["labels"], job["labels"])
    probs, strength = logistic.fit_logistic(features, truth, task=job["task"], seed=job["seed"])
    seconds = time.perf_counter() - started
    gate.finish(
        load_seconds=0.0,
        seconds=seconds,
        chosen=strength,
        probs={
            split: probs(vectorizer.transform(content[split]["texts"])).round(6).tolist()
            for split in ("validation", "test")
        },
    )
