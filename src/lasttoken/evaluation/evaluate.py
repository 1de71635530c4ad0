"""Everything measured about a model on labeled examples: the content of `metrics.json`.

The report shows these numbers and no others.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.examples import Example
from lasttoken.durable import replace_file
from lasttoken.evaluation.abstaining import Level, choose_level
from lasttoken.evaluation.baseline import BaselineResult, Scores
from lasttoken.evaluation.calibration import calibration_dict
from lasttoken.evaluation.curves import ranking_dict
from lasttoken.evaluation.decisions import Decisions
from lasttoken.evaluation.failures import confused_pairs
from lasttoken.evaluation.intervals import score_intervals, wilson
from lasttoken.evaluation.metrics import LabelIds, Probs, as_sets, classification_metrics
from lasttoken.evaluation.paired import paired_difference
from lasttoken.evaluation.slices import column_values, length_ranges, slices_dict
from lasttoken.evaluation.thresholds import thresholds_dict

SCHEMA_VERSION = 2
TARGET_ACCURACIES = (0.9, 0.95, 0.98, 0.99)  # that the report looks up; `predict` takes any
_POINTS = 50  # of the curve of accuracy by coverage


@dataclass(frozen=True)
class ScoredExamples:
    """Labeled examples and what a model said of them.

    Attributes:
        examples: N.
        label_ids: (N,) int64, the true labels.
        logits: (N, C) float32, as the saved model gives them.
        probs: (N, C) float64, of these.
        num_tokens: (N,) int64, before cutting.
        truncated: (N,) bool.
    """

    examples: Sequence[Example]
    label_ids: LabelIds
    logits: NDArray[np.float32]
    probs: Probs
    num_tokens: NDArray[np.int64]
    truncated: NDArray[np.bool_]


def evaluation_dict(
    test: ScoredExamples,
    *,
    labels: Sequence[str],
    decisions: Decisions,
    validation: tuple[LabelIds, Probs] | None,
    baselines: Sequence[BaselineResult[Scores]],
    slice_by: Sequence[str] = (),
    precision_at_least: float | None = None,
    seed: int,
) -> dict[str, Any]:
    """Measure all that the report shows of a model's answers.

    Args:
        test: what is scored.
        labels: C labels in their stored order.
        decisions: of the model.
        validation: label ids and probabilities of validation examples; None if there are none.
        baselines: on the same test examples.
        slice_by: names of columns of the data.
        precision_at_least: a wished precision of each label, or None.
        seed: of the bootstraps.
    """
    rng = np.random.default_rng(seed)
    label_ids, probs = test.label_ids, test.probs
    is_label = as_sets(label_ids, len(labels))
    scores = scores_dict(label_ids, probs, labels, rng)
    calibration = _calibration(test, decisions.temperature, rng)
    calibration["after"]["brier_interval"] = scores["intervals"]["brier"]  # the same score
    return {
        "schema_version": SCHEMA_VERSION,
        "labels": list(labels),
        "test": scores,
        "validation": None
        if validation is None
        else classification_metrics(*validation, labels).to_dict(),
        "baselines": {
            baseline.name: _baseline(baseline, label_ids, probs, rng) for baseline in baselines
        },
        "confused_pairs": confused_pairs(test.examples, label_ids, probs, labels),
        "ranking": ranking_dict(is_label, probs, labels, rng=rng),
        "calibration": calibration,
        "abstaining": abstaining_dict(label_ids, probs, decisions.coverage_levels),
        "thresholds": thresholds_dict(
            (is_label, probs),
            None if validation is None else (as_sets(validation[0], len(labels)), validation[1]),
            decisions.thresholds,
            labels,
            precision_at_least=precision_at_least,
        ),
        "slices": slices_dict(probs.argmax(axis=1) == label_ids, _slices(test, slice_by)),
    }


def write_metrics(path: Path, metrics: Mapping[str, object]) -> None:
    """Write `metrics.json` or `comparison.json`: whole or not at all.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not know.
        OSError: the folder is missing or not writable.
    """
    text = json.dumps(metrics, indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(path, (text + "\n").encode("utf-8", "surrogatepass"))


def abstaining_dict(label_ids: LabelIds, probs: Probs, levels: Sequence[Level]) -> dict[str, Any]:
    """Return accuracy against coverage, and what each target accuracy costs in coverage."""
    predicted_ids = probs.argmax(axis=1)
    confidence = probs.max(axis=1)
    right = predicted_ids == label_ids
    order = np.argsort(-confidence, kind="stable")
    hits = np.cumsum(right[order])
    places = np.unique(np.linspace(1, len(right), min(_POINTS, len(right))).astype(np.int64))

    def measured(threshold: float) -> dict[str, Any]:
        answered = confidence >= threshold
        count, num_right = int(answered.sum()), int(right[answered].sum())
        return {
            "coverage": count / len(right),
            "num_answered": count,
            "accuracy": num_right / count if count else None,
            "interval": list(wilson(num_right, count)),
        }

    return {
        "curve": {
            "coverage": (places / len(right)).tolist(),
            "accuracy": (hits[places - 1] / places).tolist(),
            "threshold": confidence[order][places - 1].tolist(),
        },
        "levels": [
            {**dataclasses.asdict(level), "test": measured(level.threshold)} for level in levels
        ],
        "most_promised": max((level.promised for level in levels), default=None),
        "targets": [
            {
                "target_accuracy": target,
                "threshold": None if level is None else level.threshold,
                "promised": None if level is None else level.promised,
                "test": None if level is None else measured(level.threshold),
            }
            for target in TARGET_ACCURACIES
            for level in [choose_level(levels, target)]
        ],
    }


def scores_dict(
    label_ids: LabelIds, probs: Probs, labels: Sequence[str], rng: np.random.Generator
) -> dict[str, Any]:
    """Return scores, intervals and the confusion matrix in the form of `metrics.json`."""
    scores: dict[str, Any] = classification_metrics(label_ids, probs, labels).to_dict()
    intervals = score_intervals(label_ids, probs, rng=rng)
    counts = np.array(scores["confusion_matrix"], dtype=np.int64)
    scores["confusion_shares"] = (
        counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ).tolist()
    scores["num_correct"] = int((probs.argmax(axis=1) == label_ids).sum())
    scores["intervals"] = {
        name: None if ends is None else list(ends) for name, ends in intervals.scores.items()
    }
    for label, ends in zip(labels, intervals.per_label, strict=True):
        scores["per_label"][label]["intervals"] = {k: list(v) for k, v in ends.items()}
    return scores


def _baseline(
    baseline: BaselineResult[Scores], label_ids: LabelIds, probs: Probs, rng: np.random.Generator
) -> dict[str, Any]:
    """Return a baseline's scores, its difference to the model, and how it was made."""
    scores: dict[str, Any] = {}
    if baseline.metrics is not None and baseline.answers is not None:
        difference = paired_difference(
            label_ids, probs.argmax(axis=1), baseline.answers, probs.shape[1], rng=rng
        )
        scores = {**baseline.metrics.to_dict(), "difference": difference.to_dict()}
    return {
        **scores,
        "settings": dict(baseline.settings),
        "seconds": baseline.seconds,
        "reason": baseline.reason,
    }


def _calibration(
    test: ScoredExamples, temperature: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Return calibration before and after temperature scaling; the saved head contains it."""
    from scipy.special import softmax

    raw = softmax(test.logits.astype(np.float64) * temperature, axis=1)
    return {
        "temperature": temperature,
        "before": calibration_dict(test.label_ids, raw, rng=rng),
        "after": calibration_dict(test.label_ids, test.probs, rng=rng),
    }


def _slices(test: ScoredExamples, slice_by: Sequence[str]) -> dict[str, Sequence[str]]:
    values: dict[str, Sequence[str]] = {"length": length_ranges(test.num_tokens)}
    if test.truncated.any():
        values["cut at the longest length"] = ["yes" if cut else "no" for cut in test.truncated]
    values["label"] = [str(example.label) for example in test.examples]
    for column in slice_by:
        values[f"column {column}"] = column_values(
            [example.extra.get(column) for example in test.examples]
        )
    return values
