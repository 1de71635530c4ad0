"""Everything measured about predicted numbers: the content of `metrics.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.examples import Example
from lasttoken.evaluation.baseline import BaselineResult, Scores
from lasttoken.evaluation.decisions import Decisions
from lasttoken.evaluation.evaluate import SCHEMA_VERSION, baseline_dict
from lasttoken.evaluation.failures import MOST_ERRORS, Failures, fitting_on_a_page, place_of
from lasttoken.evaluation.intervals import drawn_means, middle
from lasttoken.evaluation.metrics import Probs
from lasttoken.evaluation.regression.metrics import (
    Numbers,
    number_difference,
    regression_intervals,
    regression_metrics,
)
from lasttoken.evaluation.regression.spread import bins_list, points_list, ranges_list
from lasttoken.evaluation.scored import ScoredExamples, grouped
from lasttoken.evaluation.slices import mark_worse, members, number_ranges


def number_evaluation_dict(
    test: ScoredExamples,
    *,
    labels: Sequence[str],
    decisions: Decisions,
    validation: tuple[Numbers, Probs] | None,
    baselines: Sequence[BaselineResult[Scores]],
    slice_by: Sequence[str] = (),
    precision_at_least: float | None = None,
    seed: int,
) -> dict[str, Any]:
    """Measure all that the report shows of numbers; arguments as `evaluate.evaluation_dict`."""
    rng = np.random.default_rng(seed)
    targets, values = test.targets, test.probs[:, 0]
    on_validation = None if validation is None else (validation[0], validation[1][:, 0])

    def differ(answers: Numbers) -> Mapping[str, Any]:
        return number_difference(targets, values, answers, rng=rng).to_dict()

    return {
        "schema_version": SCHEMA_VERSION,
        "task": "regression",
        "labels": list(labels),
        "test": number_scores_dict(targets, values, rng),
        "validation": None
        if on_validation is None
        else regression_metrics(*on_validation).to_dict(),
        "baselines": {each.name: baseline_dict(each, differ) for each in baselines},
        "ranges": ranges_list(targets, values, on_validation),
        "bins": bins_list(targets, values),
        "points": points_list(targets, values, rng),
        "slices": number_slices(
            values - targets,
            grouped(
                test, slice_by, {"true value": number_ranges(_readable(targets), between=False)}
            ),
            rng,
        ),
    }


def _readable(targets: Numbers) -> Numbers:
    """Return values with as many decimals as tell a hundredth of their spread apart."""
    spread = float(targets.std())
    return targets.round(2 - math.floor(math.log10(spread))) if spread > 0 else targets


def number_scores_dict(
    targets: Numbers, values: Numbers, rng: np.random.Generator
) -> dict[str, Any]:
    """Return scores, intervals and what the true values are like, as in `metrics.json`."""
    scores: dict[str, Any] = regression_metrics(targets, values).to_dict()
    scores["intervals"] = {
        name: None if ends is None else list(ends)
        for name, ends in regression_intervals(targets, values, rng=rng).items()
    }
    scores["true_values"] = {
        "mean": float(targets.mean()),
        "standard_deviation": float(targets.std()),
        "least": float(targets.min()),
        "most": float(targets.max()),
    }
    return scores


def number_slices(
    errors: Numbers, values: Mapping[str, Sequence[str]], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return each slice's mean absolute error and bias, and which are worse, for `metrics.json`.

    Args:
        errors: (N,) predicted minus true.
        values: what examples are grouped by, to N values.
        rng: of the intervals.

    Source:
        A slice is worse if its absolute errors are larger than those of all other examples by the
        Mann-Whitney test, one-sided, at 5 % over all slices together (Holm 1979).
    """
    from scipy.stats import mannwhitneyu

    absolute = np.abs(errors)
    found: list[dict[str, Any]] = []
    for by, value, here in members(values):
        others = absolute[~here]
        p_value = None
        if len(others):
            p_value = float(mannwhitneyu(absolute[here], others, alternative="greater").pvalue)
        interval = middle(drawn_means(absolute[here][:, None], rng)[:, 0])
        found.append(
            {
                "by": by,
                "value": value,
                "num_examples": int(here.sum()),
                "mae": float(absolute[here].mean()),
                "interval": None if interval is None else list(interval),
                "bias": float(errors[here].mean()),
                "others_mae": float(others.mean()) if len(others) else None,
                "p_value": p_value,
                "is_worse": False,
            }
        )
    mark_worse(found)
    return found


def number_failures(
    examples: Sequence[Example], targets: Numbers, values: Numbers, limit: int = MOST_ERRORS
) -> Failures:
    """Return the examples of the largest errors, as long as their texts fit on a page.

    Shapes:
        targets, values (N,), rows in the order of `examples`.
    """
    errors = values - targets
    order: NDArray[np.int64] = np.argsort(-np.abs(errors), kind="stable")
    order = order[errors[order] != 0]
    rows, num_too_long = fitting_on_a_page(examples, order, limit)
    entries = [
        {
            **place_of(examples[row]),
            "true": float(targets[row]),
            "predicted": float(values[row]),
            "error": float(errors[row]),
        }
        for row in rows.tolist()
    ]
    explained = np.zeros(len(rows), dtype=np.int64)
    return Failures(
        rows, explained, entries, len(order), num_too_long, errors=errors[rows].tolist()
    )
