"""How far does bf16 lie from fp32 on real texts, how many labels flip, and how fast is each?

    python benchmarks/precision.py runs/demo

Scores the first 500 test reviews in both precisions, in turn, and prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from lasttoken import TextClassifier
from lasttoken.data.movie_reviews import read_movie_reviews
from lasttoken.versions import machine, package_versions

NUM_TEXTS = 500
REPEATS = 5


def main(run: str) -> None:
    """Measure and print."""
    texts = [example.text for example in read_movie_reviews()["test"][:NUM_TEXTS]]
    classifiers = {
        precision: TextClassifier.from_pretrained(run, precision=precision)
        for precision in ("fp32", "bf16")
    }
    seconds: dict[str, list[float]] = {precision: [] for precision in classifiers}
    probs = {}
    for repeat in range(REPEATS + 1):
        for precision, classifier in classifiers.items():
            started = time.perf_counter()
            probs[precision] = classifier.predict_proba(texts)
            if repeat:  # the first call fills caches
                seconds[precision].append(time.perf_counter() - started)
    difference = np.abs(probs["fp32"] - probs["bf16"]).max(axis=1)  # (N,)
    flips = probs["fp32"].argmax(axis=1) != probs["bf16"].argmax(axis=1)
    ratios = np.array(seconds["fp32"]) / np.array(seconds["bf16"])
    result = {
        "run": run,
        "texts": NUM_TEXTS,
        "largest_difference": float(difference.max()),
        "median_difference": float(np.median(difference)),
        "labels_changed": int(flips.sum()),
        "texts_per_second": {p: NUM_TEXTS / float(np.median(s)) for p, s in seconds.items()},
        "bf16_speed_up": {
            "median": float(np.median(ratios)),
            "least": float(ratios.min()),
            "most": float(ratios.max()),
        },
        "seconds": seconds,
        "machine": machine(),
        "versions": package_versions(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(sys.argv[1])
