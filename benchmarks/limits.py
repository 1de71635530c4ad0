"""What this machine can do at most: matrix products and memory; and what a step needs at least.

Formulas: a forward pass over T real tokens of B texts of L tokens each multiplies

    2 T n P  +  2 d_attn n sum(L (L + 1))  +  2 B d C        n blocks of P weights, C classes

a training step three times that. Padding is no work, and neither is anything a contender skips:
the full model is the measure for all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_ROWS = 784  # tokens of 32 short texts
_SHAPES = ((768, 2304), (768, 768), (768, 3072), (3072, 768))
_SQUARE = 2048
_FLOATS = 64 << 20  # 256 MB

# Bytes of memory traffic for each trained parameter and step: AdamW reads p, g, m, v and writes
# p, m, v (28); clipping reads g twice and writes it once (12); under autocast weights are cast
# down (6), and gradients written narrow, then cast up (8).
_BYTES = {"fp32": 40, "bf16": 54}


def measure_limits(precision: str) -> dict[str, Any]:
    """Return FLOP/s of matrix products by shape and byte/s of memory, measured here and now."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    peaks = {}
    with torch.inference_mode():
        shapes = [(_SQUARE, _SQUARE, _SQUARE)] + [(_ROWS, k, n) for k, n in _SHAPES]
        for m, k, n in shapes:
            a, b = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
            out = torch.empty(m, n, dtype=dtype)
            seconds = _best(lambda a=a, b=b, out=out: torch.mm(a, b, out=out))
            peaks[f"{m}x{k}x{n}"] = 2 * m * k * n / seconds
        x, y, z = (torch.ones(_FLOATS) for _ in range(3))
        seconds = _best(lambda: torch.add(x, y, out=z), budget=1.0)
    return {
        "precision": precision,
        "flops_per_second": max(peaks.values()),
        "bytes_per_second": 3 * 4 * _FLOATS / seconds,
        "gemm": peaks,
    }


def _best(call: Callable[[], object], budget: float = 0.5) -> float:
    """Return the least seconds of a call, tried for about `budget` seconds."""
    call()
    best, end = float("inf"), time.perf_counter() + budget
    while time.perf_counter() < end:
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return best


def forward_flops(model: str | Path, totals: Mapping[str, int]) -> float:
    """Return the FLOPs of a full forward pass over the texts that `totals` counts.

    Args:
        model: its folder.
        totals: "tokens", "texts" and "squares" (the sum of L (L + 1)) of a segment.
    """
    config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    classes = len(config.get("id2label", {0: "", 1: ""}))
    if config["model_type"] == "gpt2":
        blocks, width = config["n_layer"], config["n_embd"]
        weights, attention = 12 * width * width, width
    else:  # the Llama type of block
        blocks, width = config["num_hidden_layers"], config["hidden_size"]
        attention = config["num_attention_heads"] * config["head_dim"]
        keys = config["num_key_value_heads"] * config["head_dim"]
        weights = width * (attention + 2 * keys) + attention * width
        weights += 3 * width * config["intermediate_size"]
    return (
        2.0 * totals["tokens"] * blocks * weights
        + 2.0 * attention * blocks * totals["squares"]
        + 2.0 * totals["texts"] * width * classes
    )


def num_parameters(model: str | Path) -> int:
    """Return the parameters of a model folder, from the header of its weights."""
    with (Path(model) / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    count = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            size = 1
            for length in tensor["shape"]:
                size *= length
            count += size
    return count


def percent_of_limit(
    model: str | Path,
    segment: Mapping[str, Any],
    limits: Mapping[str, Any],
    *,
    training: bool,
) -> dict[str, float]:
    """Return a segment's percent of the GEMM limit, and of GEMM + bytes for training."""
    flops = forward_flops(model, segment) * (3 if training else 1)
    gemm = flops / limits["flops_per_second"]
    percents = {"gemm": 100 * gemm / segment["seconds"]}
    if training:
        moved = _BYTES[limits["precision"]] * num_parameters(model) * segment["steps"]
        moving = moved / limits["bytes_per_second"]
        percents["gemm_and_bytes"] = 100 * (gemm + moving) / segment["seconds"]
    return percents
