"""What must be reached, and what would be better: the one place for both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import is_shown


@dataclass(frozen=True)
class Target:
    """One row of the table.

    Attributes:
        name: as shown.
        program: whose result it is.
        key: of the figure.
        must: value without which the bench fails.
        goal: value aimed at.
        classes: what is compared with what.
        unit: behind values.
        lower_is_better: for times and memory.
        full_only: too long for a quick run, which shows the stored result.
    """

    name: str
    program: str
    key: str
    must: float
    goal: float
    classes: str
    unit: str = "x"
    lower_is_better: bool = False
    full_only: bool = False


_BF16 = "bf16 / bf16"
_TO_FP32 = "bf16 / fp32 as published"

TARGETS = (
    Target(
        "training vs the tutorial's loop",
        *("training_speed", "train_vs_tutorial", 4.0, 5.0, _TO_FP32),
    ),
    Target(
        "training vs run_classification.py",
        *("fixed_padding", "train_vs_run_classification", 10.0, 12.0, _TO_FP32),
        full_only=True,
    ),
    Target("training vs tuned Trainer", *("training_speed", "train_vs_tuned", 1.15, 1.5, _BF16)),
    Target(
        "training fp32 vs tuned Trainer fp32",
        *("training_speed", "train_fp32_vs_tuned", 1.1, 1.3, "fp32 / fp32"),
    ),
    Target(
        "training at batch 8 vs tuned Trainer",
        *("training_speed", "train_batch8_vs_tuned", 1.2, 1.6, _BF16),
    ),
    Target(
        "prediction vs pipeline default",
        *("prediction_speed", "short / pipeline default / bf16 ours", 4.0, 6.0, _TO_FP32),
    ),
    Target(
        "prediction vs best peer but int8",
        *("prediction_speed", "short / vs best peer that is not int8", 1.05, 1.3, "bf16 / best"),
    ),
    Target(
        "one 25-token text, p50, vs pipeline",
        *("latency", "25 tokens / pipeline default / bf16 ours", 2.0, 3.0, _TO_FP32),
    ),
    Target(
        "percent of GEMM limit, training",
        *("training_speed", "tuned / lasttoken bf16 / percent of gemm", 62.0, 80.0, "bf16"),
        unit="%",
    ),
    Target(
        "percent of GEMM limit, prediction",
        *("prediction_speed", "short / lasttoken bf16 / percent of gemm", 62.0, 80.0, "bf16"),
        unit="%",
    ),
    Target(
        "40-token shared prompt vs unshared", *("shared_prompt", "shared_prompt", 2.0, 2.5, _BF16)
    ),
    Target(
        "last-3 with cache vs full training",
        *("less_compute", "last3_vs_full", 2.6, 3.3, "reduced / bf16"),
        full_only=True,
    ),
    Target(
        "last-3: accuracy lost, points",
        *("less_compute", "last3_accuracy_loss", 1.0, 0.0, "reduced / bf16"),
        unit="",
        lower_is_better=True,
        full_only=True,
    ),
    Target(
        "last-3 of depth auto vs full training",
        *("less_compute", "last3_auto_vs_full", 2.6, 3.3, "reduced / bf16"),
        full_only=True,
    ),
    Target(
        "last-3 of depth auto: points lost",
        *("less_compute", "last3_auto_accuracy_loss", 1.0, 0.0, "reduced / bf16"),
        unit="",
        lower_is_better=True,
        full_only=True,
    ),
    Target(
        "time to the tuned Trainer's accuracy",
        *("time_to_accuracy", "time_to_accuracy", 2.0, 6.0, "reduced / bf16"),
        full_only=True,
    ),
    Target(
        "peak memory of training vs tuned Trainer",
        *("memory", "memory_vs_tuned", 1.0, 0.7, _BF16),
        lower_is_better=True,
    ),
    Target(
        "time per token, 8,000 vs 1,000 examples",
        *("scaling", "scaling_examples", 1.1, 1.0, "fp32"),
        lower_is_better=True,
        full_only=True,
    ),
    Target(
        "checkpoints every ten minutes, share of training",
        *("checkpoint_cost", "checkpoint_share", 2.0, 0.5, "bf16"),
        unit="%",
        lower_is_better=True,
        full_only=True,
    ),
    Target(
        "lasttoken --help",
        *("startup", "startup_help", 0.5, 0.25, "any"),
        unit=" s",
        lower_is_better=True,
    ),
)


def judge(target: Target, figure: Mapping[str, Any] | None) -> str:
    """Return "goal", "must", "MISSED", "no difference shown" or "not measured".

    A ratio whose spread reaches across 1 shows no difference, whatever its median says.
    """
    if figure is None or "value" not in figure:
        return "not measured"
    if figure.get("is_ratio") and not is_shown(figure):
        return "no difference shown"
    sign = -1 if target.lower_is_better else 1
    value = sign * figure["value"]
    if value >= sign * target.goal:
        return "goal"
    return "must" if value >= sign * target.must else "MISSED"


def is_passed(verdict: str) -> bool:
    """Return whether a verdict of `judge` is a pass."""
    return verdict in ("goal", "must")
