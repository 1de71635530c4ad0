"""How fast are texts classified, beside the peers?

    python -m benchmarks.prediction_speed [--quick]

GPT-2 124M, movie reviews (and two mixes of longer texts); every contender takes strings and gives
probabilities. How far each one's probabilities lie from ours in fp32 is shown beside.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.driver import Contender, Measured, compare
from benchmarks.environments import python_of
from benchmarks.limits import percent_of_limit
from benchmarks.measure import (
    REPEATS,
    SMOKE,
    Results,
    figure,
    ratio_figure,
    seconds_per_token,
)
from benchmarks.models import gpt2_folder, texts_file
from benchmarks.options import quick_option

PIPELINE = "benchmarks.peers.pipeline:predict"
BEST_NOT_INT8 = (
    "pipeline tuned bf16",
    "sorted loop bf16",
    "ONNX Runtime fp32",
    "OpenVINO fp32",
    "OpenVINO bf16",
)


def contenders(mix: str, num_texts: int, batch_size: int) -> list[Contender]:
    """Return everyone, for one mix of texts.

    Args:
        mix: "short", "medium" or "long".
        num_texts: of one pass.
        batch_size: of the default pipeline; who sorts takes what suits it best.
    """
    job = {
        "model": str(gpt2_folder(0.0)),
        "texts": str(texts_file(mix)),
        "num_texts": num_texts,
        "batch_size": 64 if mix == "short" else batch_size,
    }
    default = {**job, "style": "default", "batch_size": batch_size}
    found = []
    for kind in ("bf16", "fp32"):
        mine = {**job, "precision": kind}
        entry = "benchmarks.ours:predict"
        found.append(Contender(f"lasttoken {kind}", entry, kind, mine, limits=True))
    found.append(Contender("pipeline default", PIPELINE, "fp32", {**default, "precision": "fp32"}))
    for style, name in (("tuned", "pipeline tuned"), ("loop", "sorted loop")):
        tuned = {**job, "style": style, "precision": "bf16"}
        found.append(Contender(f"{name} bf16", PIPELINE, "bf16", tuned))
    for kind in ("fp32", "int8"):
        found.append(
            Contender(
                f"ONNX Runtime {kind}",
                "benchmarks.peers.onnx:predict",
                kind,
                {**job, "precision": kind, "batch_size": 32},
                python=str(python_of("onnx")),
            )
        )
    for kind in ("fp32", "bf16", "int8"):
        found.append(
            Contender(
                f"OpenVINO {kind}",
                "benchmarks.peers.openvino:predict",
                kind,
                {**job, "precision": kind, "batch_size": 32},
                python=str(python_of("openvino")),
            )
        )
    return found


def figures_of(mix: str, measured: dict[str, Measured], model: str) -> dict[str, Any]:
    """Return ratios against every peer, percents of the limit, rates and differences."""
    figures: dict[str, Any] = {}
    seconds = {name: seconds_per_token(found.segments) for name, found in measured.items()}
    reference = measured.get("lasttoken fp32")
    for name, found in measured.items():
        slug = f"{mix} / {name}"
        figures[f"{slug} / tokens per second"] = figure([1 / s for s in seconds[name]])
        if reference:
            gaps = np.abs(
                np.array(found.facts["sample"]) - np.array(reference.facts["sample"])
            ).max(axis=1)
            figures[f"{slug} / distance from fp32"] = figure(gaps.tolist())
        if found.limits:
            best = max(found.limits.values(), key=lambda limits: limits["flops_per_second"])
            figures[f"{slug} / percent of gemm"] = figure(
                [
                    percent_of_limit(model, segment, best, training=False)["gemm"]
                    for segment in found.segments
                ],
                unit="%",
            )
        for kind in ("bf16", "fp32"):
            mine = f"lasttoken {kind}"
            if mine in seconds and not name.startswith("lasttoken"):
                notes = {"our_class": kind, "peer_class": found.kind}
                figures[f"{slug} / {kind} ours"] = ratio_figure(
                    seconds[name], seconds[mine], **notes
                )
    rivals = [name for name in BEST_NOT_INT8 if name in seconds]
    if "lasttoken bf16" in seconds and rivals:
        best_rival = min(rivals, key=lambda name: float(np.median(seconds[name])))
        figures[f"{mix} / vs best peer that is not int8"] = {
            **figures[f"{mix} / {best_rival} / bf16 ours"],
            "peer": best_rival,
        }
    return figures


def main() -> None:
    """Measure every mix."""
    quick = quick_option(__doc__)
    results = Results("prediction_speed", quick=quick)
    mixes = {"short": (16 if SMOKE else 128 if quick else 512, 32)}
    if not (quick or SMOKE):
        mixes |= {"medium": (96, 8), "long": (32, 8)}
    for mix, (num_texts, batch_size) in mixes.items():
        if results.has(mix):
            continue
        everyone = contenders(mix, num_texts, batch_size)
        if quick:
            skipped = ("ONNX Runtime int8", "OpenVINO int8", "OpenVINO fp32")
            everyone = [one for one in everyone if one.name not in skipped]
        print(f"{mix}: {', '.join(one.name for one in everyone)}", flush=True)
        measured, failed = compare(everyone, steps=1, repeats=REPEATS)
        details = {name: found.record() for name, found in measured.items()}
        figures = figures_of(mix, measured, everyone[0].job["model"])
        results.add(mix, {"contenders": details, "failed": failed}, figures)
    results.save()


if __name__ == "__main__":
    main()
