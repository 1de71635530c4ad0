"""Caveats: what to know before scores are relied on, from the scores themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lasttoken.evaluation.calibration import TEMPERATURES
from lasttoken.evaluation.headline import number
from lasttoken.evaluation.headline import share as _share

FEW_EXAMPLES = 200  # test examples below which the interval is about 0.1 wide or wider
LEAST_TEMPERATURE, MOST_TEMPERATURE = (1.01 * TEMPERATURES[0], 0.99 * TEMPERATURES[1])
MOST_SLICES = 5  # told one by one


def caveats(metrics: Mapping[str, Any]) -> list[str]:
    """Return what to know before the scores are relied on, from the scores themselves."""
    return [
        *_few_examples(metrics, "accuracy", "accuracy", _share),
        *_absent_labels(metrics),
        *_odd_temperature(metrics),
        *_worse_slices(metrics, "accuracy", _share, "accuracy"),
    ]


def set_caveats(metrics: Mapping[str, Any]) -> list[str]:
    """Return what to know before the scores of label sets are relied on."""
    unfitted = [
        label
        for label, each in metrics["thresholds"].items()
        if each["best_f1"] is None and metrics["test"]["per_label"][label]["support"]
    ]
    found = [
        *_few_examples(metrics, "macro_f1", "macro F1", _share),
        *_absent_labels(metrics),
        *_odd_temperature(metrics),
    ]
    if unfitted:
        found.append(
            f"no threshold was fitted for: {_first(unfitted)}; they are given from a probability "
            "of 0.5 on"
        )
    return [*found, *_worse_slices(metrics, "accuracy", _share, "share of exactly right texts")]


def number_caveats(metrics: Mapping[str, Any]) -> list[str]:
    """Return what to know before the scores of numbers are relied on."""
    return [
        *_few_examples(metrics, "mae", "mean absolute error", number),
        *_worse_slices(metrics, "mae", number, "mean absolute error"),
    ]


def _few_examples(
    metrics: Mapping[str, Any], key: str, title: str, form: Callable[[float], str]
) -> Iterator[str]:
    test = metrics["test"]
    interval = test["intervals"][key]
    if test["num_examples"] < FEW_EXAMPLES and interval is not None:
        low, high = map(form, interval)
        yield (
            f"only {test['num_examples']:,} test examples: the true {title} may lie anywhere "
            f"from {low} to {high}"
        )


def _absent_labels(metrics: Mapping[str, Any]) -> Iterator[str]:
    per_label = metrics["test"]["per_label"]
    absent = [label for label, each in per_label.items() if each["support"] == 0]
    if absent:
        yield f"no test example of: {_first(absent)}; macro averages count 0 for these"


def _first(labels: Sequence[str]) -> str:
    return ", ".join(labels[:MOST_SLICES]) + (" ..." if len(labels) > MOST_SLICES else "")


def _odd_temperature(metrics: Mapping[str, Any]) -> Iterator[str]:
    temperature = metrics["calibration"]["temperature"]
    if not LEAST_TEMPERATURE < temperature < MOST_TEMPERATURE:
        yield (
            f"the temperature {temperature:.3g} lies at the end of what was tried: something else "
            "is wrong with this model than its calibration"
        )


def _worse_slices(
    metrics: Mapping[str, Any], key: str, form: Callable[[float], str], title: str
) -> Iterator[str]:
    """Yield the slices that are worse than elsewhere, the worst first."""
    sign = -1 if key == "mae" else 1
    worse = [each for each in metrics["slices"] if each["is_worse"]]
    worse.sort(key=lambda each: sign * float(each[key]))
    for each in worse[:MOST_SLICES]:
        yield (
            f"worse than elsewhere where {each['by']} is {each['value']}: {title} "
            f"{form(each[key])} of {each['num_examples']:,} examples, "
            f"{form(each[f'others_{key}'])} of the others"
        )
    if len(worse) > MOST_SLICES:
        yield f"{len(worse) - MOST_SLICES} more groups are worse than elsewhere"
