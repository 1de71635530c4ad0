"""Everything measured about a model on labeled examples: the content of `metrics.json`.

The report shows these numbers and no others.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from lasttoken.evaluation.scored import ScoredExamples, grouped
from lasttoken.evaluation.slices import slices_dict
from lasttoken.evaluation.thresholds import thresholds_dict

SCHEMA_VERSION = 2
TARGET_ACCURACIES = (0.9, 0.95, 0.98, 0.99)  # that the report looks up; `predict` takes any
_POINTS = 50  # of the curve of accuracy by coverage


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
    label_ids, probs = test.targets, test.probs
    is_label = as_sets(label_ids, len(labels))
    scores = scores_dict(label_ids, probs, labels, rng)
    calibration = _calibration(test, decisions.temperature, rng)
    calibration["after"]["brier_interval"] = scores["intervals"]["brier"]  # the same score

    def differ(answers: LabelIds) -> dict[str, object]:
        return paired_difference(
            label_ids, probs.argmax(axis=1), answers, len(labels), rng=rng
        ).to_dict()

    return {
        "schema_version": SCHEMA_VERSION,
        "task": "single-label",
        "labels": list(labels),
        "test": scores,
        "validation": None
        if validation is None
        else classification_metrics(*validation, labels).to_dict(),
        "baselines": {baseline.name: baseline_dict(baseline, differ) for baseline in baselines},
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
        "slices": slices_dict(
            probs.argmax(axis=1) == label_ids,
            grouped(test, slice_by, {"label": [str(example.label) for example in test.examples]}),
        ),
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


def baseline_dict(
    baseline: BaselineResult[Scores], differ: Callable[[NDArray[Any]], Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a baseline's scores, what the model has over it, and how it was made.

    Args:
        baseline: what it reached.
        differ: its answers to the difference of the model and it.
    """
    scores: dict[str, Any] = {}
    if baseline.metrics is not None and baseline.answers is not None:
        scores = {**baseline.metrics.to_dict(), "difference": dict(differ(baseline.answers))}
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
        "before": calibration_dict(test.targets, raw, rng=rng),
        "after": calibration_dict(test.targets, test.probs, rng=rng),
    }
