"""How long does one text take?

    python -m benchmarks.latency [--quick]

GPT-2 124M, texts of about 10, 25 and 100 tokens, one at a time; fifty different texts in turn, so
that no cache of answers helps. p50 and p95 of single calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.driver import Contender, compare
from benchmarks.environments import python_of
from benchmarks.measure import REPEATS, SCRATCH, Results, figure, ratio_figure
from benchmarks.models import gpt2_folder, read_texts, subset_file, texts_file
from benchmarks.options import quick_option

NUM_TEXTS = 50


def single_texts(tokens: int) -> str:
    """Return a texts file with fifty texts whose lengths lie nearest to `tokens`."""
    part = read_texts(texts_file("medium" if tokens > 60 else "short"))["test"]
    counts = np.array(part["num_tokens"])
    places = np.argsort(np.abs(counts - tokens), kind="stable")[:NUM_TEXTS]
    path = SCRATCH / "texts" / f"single-{tokens}.json"
    if not path.is_file():
        subset_file(
            path.stem,
            [part["texts"][i] for i in places],
            [part["labels"][i] for i in places],
            [part["num_tokens"][i] for i in places],
        )
    return str(path)


def contenders(tokens: int, *, quick: bool) -> list[Contender]:
    """Return everyone, for texts of one length."""
    job = {"model": str(gpt2_folder(0.0)), "texts": single_texts(tokens)}
    pipeline = "benchmarks.peers.pipeline:predict_single"
    ours = "benchmarks.ours:predict_single"
    found = [
        Contender("lasttoken bf16", ours, "bf16", {**job, "precision": "bf16"}),
        Contender("lasttoken fp32", ours, "fp32", {**job, "precision": "fp32"}),
        Contender("pipeline default", pipeline, "fp32", {**job, "style": "default"}),
        Contender(
            "pipeline tuned bf16", pipeline, "bf16", {**job, "style": "tuned", "precision": "bf16"}
        ),
    ]
    for name, module, kinds in (
        ("ONNX Runtime", "onnx", ("fp32", "int8")),
        ("OpenVINO", "openvino", ("bf16", "int8")),
    ):
        for kind in () if quick else kinds:
            entry = f"benchmarks.peers.{module}:predict_single"
            python = str(python_of(module))
            found.append(
                Contender(f"{name} {kind}", entry, kind, {**job, "precision": kind}, python=python)
            )
    return found


def main() -> None:
    """Measure every length."""
    quick = quick_option(__doc__)
    results = Results("latency", quick=quick)
    for tokens in (25,) if quick else (25, 10, 100):
        part = f"{tokens} tokens"
        if results.has(part):
            continue
        print(part, flush=True)
        measured, failed = compare(
            contenders(tokens, quick=quick), steps=20 if quick else NUM_TEXTS, repeats=REPEATS
        )
        figures: dict[str, Any] = {}
        medians = {
            name: [float(np.median(segment["step_seconds"])) for segment in found.segments]
            for name, found in measured.items()
        }
        for name, found in measured.items():
            for percent in (50, 95):
                figures[f"{part} / {name} / p{percent} ms"] = figure(
                    [
                        1000 * float(np.percentile(segment["step_seconds"], percent))
                        for segment in found.segments
                    ],
                    unit=" ms",
                )
            if not name.startswith("lasttoken"):
                for kind in ("bf16", "fp32"):
                    figures[f"{part} / {name} / {kind} ours"] = ratio_figure(
                        medians[name],
                        medians[f"lasttoken {kind}"],
                        our_class=kind,
                        peer_class=found.kind,
                    )
        details = {name: found.record() for name, found in measured.items()}
        results.add(part, {"contenders": details, "failed": failed}, figures)
    results.save()


if __name__ == "__main__":
    main()
