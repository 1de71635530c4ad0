"""The limits of a model in sentences, each from a measured number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lasttoken.data.check import FEW_EXAMPLES
from lasttoken.evaluation.baseline import BASELINE_NAMES
from lasttoken.evaluation.caveats import caveats, number_caveats, set_caveats
from lasttoken.evaluation.headline import ACCURACY, MACRO_F1, MEAN_ERROR, Headline, tested
from lasttoken.evaluation.report.markdown import text

_MOST = 3  # weakest labels, confused pairs
_RANGE = 0.9  # the share of true values whose range is told
_LONGEST_CAVEAT = 300  # characters; it may name a label


def limits(metrics: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """Return what to know before the model is relied on, as lines of Markdown.

    Args:
        metrics: the content of `metrics.json`.
        record: the content of `run.json`; what it lacks is left out.
    """
    return [
        *_LIMITS[metrics["task"]](metrics, record),
        "Other languages, other kinds of text and later times were not measured.",
    ]


def _of_labels(metrics: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[str]:
    yield from _against_baselines(metrics, ACCURACY)
    yield from _weakest_labels(metrics)
    yield from _confused_pairs(metrics)
    yield from _caveats(metrics, caveats)
    yield from _truncation(record)
    yield _calibration(metrics, "the share of right answers")
    yield (
        "It knows no other labels: a text that fits none of them is given one of them all the same."
    )


def _of_sets(metrics: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[str]:
    yield from _against_baselines(metrics, MACRO_F1)
    yield from _weakest_labels(metrics)
    yield from _missed_labels(metrics)
    yield from _caveats(metrics, set_caveats)
    yield from _truncation(record)
    yield _calibration(metrics, "the share of texts that have the label")
    yield "It knows no other labels: what a text has beside them is not told."


def _of_numbers(metrics: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[str]:
    yield from _against_baselines(metrics, MEAN_ERROR)
    yield from _caveats(metrics, number_caveats)
    yield from _truncation(record)
    for each in metrics["ranges"]:
        if each["reach"] is not None and each["level"] == _RANGE:
            yield (
                "A prediction alone does not say how sure it is: plus and minus "
                f"{each['reach']:.4g} held {each['test']['share']:.0%} of the test examples' true "
                "values."
            )
    values = metrics["test"]["true_values"]
    yield (
        f"The test examples' values lie between {values['least']:.4g} and {values['most']:.4g}; "
        "beyond that nothing was measured."
    )


def _against_baselines(metrics: Mapping[str, Any], headline: Headline) -> Iterator[str]:
    own = metrics["test"][headline.key]
    for name, each in metrics["baselines"].items():
        if headline.key in each and headline.sign * (each[headline.key] - own) >= 0:
            yield (
                f"It is not better than a far cheaper baseline, {BASELINE_NAMES[name]}: "
                f"{headline.spoken} {headline.form(own)} against "
                f"{headline.form(each[headline.key])}."
            )


def _weakest_labels(metrics: Mapping[str, Any]) -> Iterator[str]:
    per_label = metrics["test"]["per_label"]
    order = sorted(per_label, key=lambda label: float(per_label[label]["f1"]))
    weakest = order[: max(1, min(_MOST, len(order) - 1))]
    shown = "; ".join(
        f"{text(label)} (F1 {per_label[label]['f1']:.3f} on {tested(per_label[label]['support'])})"
        for label in weakest
    )
    yield f"Weakest label{'s' if len(weakest) > 1 else ''}: {shown}."
    rare = [label for label in order if per_label[label]["support"] < FEW_EXAMPLES]
    if rare:
        shown = ", ".join(text(label) for label in rare[: 2 * _MOST])
        more = f" and {len(rare) - 2 * _MOST:,} more" if len(rare) > 2 * _MOST else ""
        yield (
            f"Scores are rough for labels of fewer than {FEW_EXAMPLES} test examples: "
            f"{shown}{more}."
        )


def _confused_pairs(metrics: Mapping[str, Any]) -> Iterator[str]:
    per_label = metrics["test"]["per_label"]
    shown = "; ".join(
        f"{text(pair['true'])} taken for {text(pair['predicted'])} ({pair['count']:,} of "
        f"{tested(per_label[pair['true']]['support'])})"
        for pair in metrics["confused_pairs"][:_MOST]
    )
    if shown:
        yield f"Confused most: {shown}."


def _missed_labels(metrics: Mapping[str, Any]) -> Iterator[str]:
    per_label = metrics["test"]["per_label"]
    shown = "; ".join(
        f"{text(pair['missed'])} missed and {text(pair['given'])} given ({pair['count']:,} of "
        f"{tested(per_label[pair['missed']]['support'])})"
        for pair in metrics["mistakes"][:_MOST]
    )
    if shown:
        yield f"Taken for another label most: {shown}."


def _caveats(
    metrics: Mapping[str, Any], told: Callable[[Mapping[str, Any]], list[str]]
) -> Iterator[str]:
    """Yield the caveats, but none of slices by a column: they name cells of the data."""
    slices = [each for each in metrics["slices"] if not each["by"].startswith("column ")]
    for caveat in told({**metrics, "slices": slices}):
        line = text(caveat, limit=_LONGEST_CAVEAT)
        yield f"{line[:1].upper()}{line[1:]}."


_UNREAD = {
    "cut-end": "What stands behind the first {limit} tokens of a text is not read",
    "cut-start": "What stands before the last {limit} tokens of a text is not read",
    "cut-middle": "Of a text of more than {limit} tokens the middle is not read",
    "windows": "A text of more than {limit} tokens is read in windows of that length, each without "
    "the others; their answers are averaged",
}


def _truncation(record: Mapping[str, Any]) -> Iterator[str]:
    limit = record.get("resolved", {}).get("max_length")
    if limit is None:
        return
    line = _UNREAD[record.get("settings", {}).get("long", "cut-end")].format(limit=f"{limit:,}")
    part = record.get("data", {}).get("test")
    if part:
        cut, count = part["texts_cut"], part["examples"]
        line += f"; of the {count:,} test texts {cut:,} were cut ({cut / count:.1%})"
    yield line + "."


def _calibration(metrics: Mapping[str, Any], share: str) -> str:
    calibration = metrics["calibration"]
    return (
        f"Its probabilities differ from {share} by "
        f"{calibration['after']['ece']:.3f} on average (expected calibration error on the test "
        f"examples, with a temperature of {calibration['temperature']:.3g} that is part of the "
        "weights)."
    )


_LIMITS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Iterator[str]]] = {
    "single-label": _of_labels,
    "ordinal": _of_labels,
    "multi-label": _of_sets,
    "regression": _of_numbers,
}
