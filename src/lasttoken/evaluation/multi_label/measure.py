"""Everything measured about a model's label sets: the content of `metrics.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lasttoken.evaluation.baseline import BaselineResult, Scores
from lasttoken.evaluation.curves import ranking_dict
from lasttoken.evaluation.decisions import Decisions
from lasttoken.evaluation.evaluate import SCHEMA_VERSION, baseline_dict
from lasttoken.evaluation.metrics import Probs
from lasttoken.evaluation.multi_label.calibration import set_calibration_dict
from lasttoken.evaluation.multi_label.failures import mistakes_list
from lasttoken.evaluation.multi_label.intervals import set_difference, set_score_intervals
from lasttoken.evaluation.multi_label.metrics import Floats, Sets, multi_label_metrics
from lasttoken.evaluation.scored import ScoredExamples, grouped
from lasttoken.evaluation.slices import column_values, slices_dict
from lasttoken.evaluation.thresholds import thresholds_array, thresholds_dict


def set_evaluation_dict(
    test: ScoredExamples,
    *,
    labels: Sequence[str],
    decisions: Decisions,
    validation: tuple[Sets, Probs] | None,
    baselines: Sequence[BaselineResult[Scores]],
    slice_by: Sequence[str] = (),
    precision_at_least: float | None = None,
    seed: int,
) -> dict[str, Any]:
    """Measure all that the report shows of label sets; arguments as `evaluate.evaluation_dict`."""
    rng = np.random.default_rng(seed)
    targets, probs = test.targets, test.probs
    thresholds = thresholds_array(decisions.thresholds, labels)
    given = probs >= thresholds
    scores = set_scores_dict(targets, probs, thresholds, labels, rng)
    calibration = _calibration(test, decisions.temperature, rng)
    calibration["after"]["brier_interval"] = scores["intervals"]["brier"]  # the same score

    def differ(answers: Sets) -> Mapping[str, Any]:
        return set_difference(targets, given, answers, rng=rng).to_dict()

    return {
        "schema_version": SCHEMA_VERSION,
        "task": "multi-label",
        "labels": list(labels),
        "test": scores,
        "validation": None
        if validation is None
        else multi_label_metrics(*validation, thresholds, labels).to_dict(),
        "baselines": {each.name: baseline_dict(each, differ) for each in baselines},
        "mistakes": mistakes_list(test.examples, targets, probs, given, labels),
        "set_sizes": set_sizes(targets, given),
        "ranking": ranking_dict(targets, probs, labels, rng=rng),
        "calibration": calibration,
        "thresholds": thresholds_dict(
            (targets, probs),
            validation,
            decisions.thresholds,
            labels,
            precision_at_least=precision_at_least,
        ),
        "slices": slices_dict((given == targets).all(axis=1), _groups(test, labels, slice_by)),
    }


def set_scores_dict(
    targets: Sets, probs: Probs, thresholds: Floats, labels: Sequence[str], rng: np.random.Generator
) -> dict[str, Any]:
    """Return scores and intervals in the form of `metrics.json`."""
    scores: dict[str, Any] = multi_label_metrics(targets, probs, thresholds, labels).to_dict()
    intervals = set_score_intervals(targets, probs, probs >= thresholds, rng=rng)
    scores["intervals"] = {
        name: None if ends is None else list(ends) for name, ends in intervals.scores.items()
    }
    scores["num_labels"] = len(labels)
    for label, ends in zip(labels, intervals.per_label, strict=True):
        scores["per_label"][label]["intervals"] = {k: list(v) for k, v in ends.items()}
    return scores


def set_sizes(targets: Sets, given: Sets) -> list[dict[str, int]]:
    """Return how many examples have, and are given, 0, 1, 2 ... labels."""
    true, answered = targets.sum(axis=1), given.sum(axis=1)
    size = int(max(true.max(), answered.max())) + 1
    counts = zip(
        np.bincount(true, minlength=size), np.bincount(answered, minlength=size), strict=True
    )
    return [
        {"size": number, "true": int(one), "given": int(other)}
        for number, (one, other) in enumerate(counts)
    ]


def shown_set(labels: Sequence[str]) -> str:
    """Return a label set as people read it: "joy, love", "(none)"."""
    return ", ".join(labels) or "(none)"


def _groups(
    test: ScoredExamples, labels: Sequence[str], slice_by: Sequence[str]
) -> dict[str, Sequence[str]]:
    names = np.array(labels, dtype=object)
    sets = [shown_set(names[row].tolist()) for row in test.targets]
    sizes = [str(size) for size in test.targets.sum(axis=1).tolist()]
    return grouped(test, slice_by, {"number of labels": sizes, "label set": column_values(sets)})


def _calibration(
    test: ScoredExamples, temperature: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Return calibration before and after temperature scaling; the saved head contains it."""
    from scipy.special import expit

    raw = expit(test.logits.astype(np.float64) * temperature)
    return {
        "temperature": temperature,
        "before": set_calibration_dict(test.targets, raw, rng=rng),
        "after": set_calibration_dict(test.targets, test.probs, rng=rng),
    }
