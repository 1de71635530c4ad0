"""What do a sentence encoder and word counts reach, and in how many seconds?

    python -m benchmarks.small_models

The movie reviews, the same training and test texts as in `time_to_accuracy.py`.
"""

from __future__ import annotations

from typing import Any

from benchmarks.driver import Contender, WorkerError, run_to_end
from benchmarks.environments import encoder_folder
from benchmarks.measure import REPEATS, Results, figure
from benchmarks.options import quick_option
from benchmarks.whole_runs import review_splits, short_reason


def main() -> None:
    """Measure in turn."""
    quick = quick_option(__doc__)
    results = Results("small_models", quick=quick)
    job: dict[str, Any] = {"texts": str(review_splits())}
    everyone = [Contender("TF-IDF", "benchmarks.peers.tfidf:fit", "reduced", job)]
    for kind in ("fp32", "bf16"):
        encoder = {**job, "model": str(encoder_folder()), "precision": kind}
        name = f"MiniLM encoder {kind}"
        everyone.append(Contender(name, "benchmarks.peers.encoder:fit", "reduced", encoder))
    reports: dict[str, list[dict[str, Any]]] = {one.name: [] for one in everyone}
    failed: dict[str, str] = {}
    for _ in range(1 if quick else REPEATS):
        for contender in everyone:
            try:
                reports[contender.name].append(run_to_end(contender))
            except WorkerError as error:
                failed[contender.name] = short_reason(str(error))
    figures = {
        f"{name} / {key}": figure([run[key] for run in runs])
        for name, runs in reports.items()
        for key in ("seconds", "load_seconds", "test_accuracy")
        if runs
    }
    results.add("reviews", {"runs": reports, "failed": failed}, figures)
    results.save()


if __name__ == "__main__":
    main()
