"""Does the time per token stay flat with more examples, and follow the formula with longer texts?

    python -m benchmarks.scaling [--quick]

Examples: whole fits of 1,000 to 8,000 reviews with a small GPT-2, where anything that grows faster
than the data would show. Lengths: training steps of GPT-2 124M on texts of 32, 512 and 1,024
tokens, the same number of tokens a step; attention adds 2 d n L FLOPs a token.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.driver import Contender, compare
from benchmarks.limits import forward_flops
from benchmarks.measure import REPEATS, SMOKE, Results, figure, seconds_per_token
from benchmarks.models import gpt2_folder, read_texts, subset_file, texts_file
from benchmarks.options import quick_option

SIZES = (1000, 2000, 4000, 8000)
LENGTHS = {32: 64, 512: 4, 1024: 2}  # tokens of a text: texts of a step
_NUM_TEXTS = 128


def by_examples(sizes: tuple[int, ...]) -> tuple[Any, dict[str, Any]]:
    """Return details and figures of whole fits."""
    job = {
        "model": str(gpt2_folder(0.0, "gpt2-small")),
        "texts": str(texts_file("short")),
        "precision": "fp32",
    }
    entry = "benchmarks.ours:fit_again"
    everyone = [
        # As many fits at a time as make the same number of examples: a short one scatters more.
        Contender(
            f"{size:,} examples",
            entry,
            "fp32",
            {**job, "num_examples": size},
            steps=max(sizes) // size,
        )
        for size in sizes
    ]
    measured, failed = compare(everyone, steps=1, repeats=REPEATS)
    costs = {name: seconds_per_token(found.segments) for name, found in measured.items()}
    figures = {
        f"{name} / microseconds per token": figure([1e6 * cost for cost in values])
        for name, values in costs.items()
    }
    least, most = (costs[f"{size:,} examples"] for size in (sizes[0], sizes[-1]))
    figures["scaling_examples"] = figure(
        [large / small for small, large in zip(least, most, strict=True)], unit="x"
    )
    details = {name: found.record() for name, found in measured.items()}
    return {"contenders": details, "failed": failed}, figures


def by_length(*, quick: bool) -> tuple[Any, dict[str, Any]]:
    """Return details and figures of steps on texts of one length each."""
    model = str(gpt2_folder(0.0))
    everyone = []
    words = " ".join(read_texts(texts_file("long"))["train"]["texts"][:8]).split()
    generator = np.random.default_rng(123)
    for length, batch_size in LENGTHS.items():
        # More words than the limit, in random order: every text is cut at exactly `length`.
        texts = [" ".join(generator.choice(words, length + 8)) for _ in range(_NUM_TEXTS)]
        labels = [("negative", "positive")[i % 2] for i in range(_NUM_TEXTS)]
        path = subset_file(f"length-{length}", texts, labels, [length] * _NUM_TEXTS)
        job = {
            "model": model,
            "texts": str(path),
            "batch_size": batch_size,
            "precision": "bf16",
            "max_length": length,
            "copies": 64,
        }
        everyone.append(Contender(f"{length} tokens", "benchmarks.ours:train", "bf16", job))
    measured, failed = compare(everyone, steps=2 if quick else 6, repeats=REPEATS)
    costs = {name: seconds_per_token(found.segments) for name, found in measured.items()}
    figures: dict[str, Any] = {
        f"{name} / microseconds per token": figure([1e6 * cost for cost in values])
        for name, values in costs.items()
    }
    base = f"{min(LENGTHS)} tokens"
    for length in LENGTHS:
        name = f"{length} tokens"
        if name in (base, *failed) or base in failed:
            continue
        formula = _flops_per_token(model, length) / _flops_per_token(model, min(LENGTHS))
        ratios = [cost / short for cost, short in zip(costs[name], costs[base], strict=True)]
        figures[f"cost at {length} / at 32 tokens"] = figure(ratios, unit="x", formula=formula)
        figures[f"cost at {length} / formula"] = figure([r / formula for r in ratios], unit="x")
    details = {name: found.record() for name, found in measured.items()}
    return {"contenders": details, "failed": failed}, figures


def _flops_per_token(model: str, length: int) -> float:
    one = {"tokens": length, "texts": 1, "squares": length * (length + 1)}
    return forward_flops(model, one) / length


def main() -> None:
    """Measure both."""
    quick = quick_option(__doc__)
    results = Results("scaling", quick=quick)
    if not results.has("examples"):
        results.add("examples", *by_examples((100, 400) if SMOKE else SIZES))
    if not results.has("lengths"):
        results.add("lengths", *by_length(quick=quick))
    results.save()


if __name__ == "__main__":
    main()
