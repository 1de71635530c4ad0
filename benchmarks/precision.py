"""How far does bf16 lie from fp32 on real texts, how many labels flip, and how fast is each?

    python -m benchmarks.precision [--quick]

SmolLM2 trained on 1,600 movie reviews (once, kept), 500 test reviews scored in both, in turn.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import REPEATS, SCRATCH, SMOKE, Results, figure, ratio_figure
from benchmarks.models import gpt2_folder
from benchmarks.options import quick_option
from lasttoken import TextClassifier
from lasttoken.data.movie_reviews import read_movie_reviews


def trained_model() -> Path:
    """Return a model fine-tuned on the reviews by the command line, made if it is not there."""
    if SMOKE:
        return gpt2_folder(0.0)
    run = SCRATCH / "models" / "reviews"
    if not (run / "metrics.json").is_file():
        subprocess.run(
            [
                *(sys.executable, "-m", "lasttoken", "train", "movie-reviews"),
                *("--model", "smollm2", "--output-dir", str(run), "--overwrite"),
                *("--limit", "1600", "--num-epochs", "1", "--learning-rate", "1e-4"),
            ],
            check=True,
        )
    return run


def main() -> None:
    """Measure."""
    quick = quick_option(__doc__)
    results = Results("precision", quick=quick)
    num_texts = 100 if quick or SMOKE else 500
    texts = [example.text for example in read_movie_reviews()["test"][:num_texts]]
    run = trained_model()
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
    figures = {
        "difference of a probability": figure(difference.tolist()),
        "labels changed": figure([int(flips.sum())], texts=num_texts),
        "bf16 vs fp32": ratio_figure(
            seconds["fp32"], seconds["bf16"], our_class="bf16", peer_class="fp32"
        ),
    }
    del figures["difference of a probability"]["repeats"]  # a number for each text
    results.add("reviews", {"texts": num_texts, "seconds": seconds}, figures)
    results.save()


if __name__ == "__main__":
    main()
