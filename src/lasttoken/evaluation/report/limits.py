"""The limits of a model in sentences, each from a measured number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lasttoken.data.check import FEW_EXAMPLES
from lasttoken.evaluation.baseline import BASELINE_NAMES
from lasttoken.evaluation.report.markdown import text
from lasttoken.evaluation.verdict import caveats

_MOST = 3  # weakest labels, confused pairs
_LONGEST_CAVEAT = 300  # characters; it may name a label


def limits(metrics: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """Return what to know before the model is relied on, as lines of Markdown.

    Args:
        metrics: the content of `metrics.json`.
        record: the content of `run.json`; what it lacks is left out.
    """
    return [
        *_against_baselines(metrics),
        *_weakest_labels(metrics),
        *_confused_pairs(metrics),
        *_caveats(metrics),
        *_truncation(record),
        _calibration(metrics),
        "It knows no other labels: a text that fits none of them is given one of them all the "
        "same.",
        "Other languages, other kinds of text and later times were not measured.",
    ]


def tested(count: int) -> str:
    """Return "1 test example", "2 test examples"."""
    return f"{count:,} test example" + ("s" if count != 1 else "")


def _against_baselines(metrics: Mapping[str, Any]) -> Iterator[str]:
    accuracy = metrics["test"]["accuracy"]
    for name, each in metrics["baselines"].items():
        if each.get("accuracy", -1.0) >= accuracy:
            yield (
                f"It is not better than a far cheaper baseline, {BASELINE_NAMES[name]}: accuracy "
                f"{accuracy:.3f} against {each['accuracy']:.3f}."
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


def _caveats(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield the caveats, but none of slices by a column: they name cells of the data."""
    slices = [each for each in metrics["slices"] if not each["by"].startswith("column ")]
    for caveat in caveats({**metrics, "slices": slices}):
        line = text(caveat, limit=_LONGEST_CAVEAT)
        yield f"{line[:1].upper()}{line[1:]}."


def _truncation(record: Mapping[str, Any]) -> Iterator[str]:
    limit = record.get("resolved", {}).get("max_length")
    if limit is None:
        return
    line = f"What stands behind the first {limit:,} tokens of a text is not read"
    part = record.get("data", {}).get("test")
    if part:
        cut, count = part["texts_cut"], part["examples"]
        line += f"; of the {count:,} test texts {cut:,} were cut ({cut / count:.1%})"
    yield line + "."


def _calibration(metrics: Mapping[str, Any]) -> str:
    calibration = metrics["calibration"]
    return (
        "Its probabilities differ from the share of right answers by "
        f"{calibration['after']['ece']:.3f} on average (expected calibration error on the test "
        f"examples, with a temperature of {calibration['temperature']:.3g} that is part of the "
        "weights)."
    )
