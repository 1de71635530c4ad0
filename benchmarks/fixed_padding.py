"""How fast is a training step beside `run_classification.py`, which pads every text to 128 tokens?

    python -m benchmarks.fixed_padding [--quick]

GPT-2 124M, batches of 32 movie reviews, dropout 0.1 on both sides. One of its steps takes about
20 s on two cores, so this is a program of its own.
"""

from __future__ import annotations

from benchmarks.driver import Contender, compare
from benchmarks.measure import REPEATS, SMOKE, Results, figure, ratio_figure, seconds_per_token
from benchmarks.options import quick_option
from benchmarks.training_speed import OURS, TRAINER, published_job

GROUP = "fixed padding"


def main() -> None:
    """Measure both in turn."""
    quick = quick_option(__doc__)
    results = Results("fixed_padding", quick=quick)
    job = published_job()
    padded = {**job, "style": "run_classification", "precision": "fp32"}
    few = quick or SMOKE
    contenders = [
        Contender("lasttoken bf16", OURS, "bf16", {**job, "precision": "bf16"}),
        Contender("run_classification", TRAINER, "fp32", padded, steps=1 if few else 4),
    ]
    if not results.has(GROUP):
        measured, failed = compare(contenders, steps=3 if few else 8, repeats=REPEATS)
        seconds = {name: seconds_per_token(found.segments) for name, found in measured.items()}
        figures = {f"{name} / tokens per second": figure([1 / value for value in values])
                   for name, values in seconds.items()}  # fmt: skip
        if not failed:
            figures["train_vs_run_classification"] = ratio_figure(
                seconds["run_classification"],
                seconds["lasttoken bf16"],
                our_class="bf16",
                peer_class="fp32",
            )
        details = {name: found.record() for name, found in measured.items()}
        results.add(GROUP, {"contenders": details, "failed": failed}, figures)
    results.save()


if __name__ == "__main__":
    main()
