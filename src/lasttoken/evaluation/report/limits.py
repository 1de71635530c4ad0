"""The limits of a model in sentences, each from a measured number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lasttoken.data.check import FEW_EXAMPLES
from lasttoken.evaluation.baseline import MAJORITY, TFIDF
from lasttoken.evaluation.report.markdown import text

BASELINES = {
    TFIDF: "TF-IDF + logistic regression",
    MAJORITY: "always answering the commonest label",
}

_MOST = 3  # weakest labels, confused pairs, worst slices
_LONGEST_CAVEAT = 300  # characters; it may name a value of the data
_FEW_TESTED = 200  # test examples; with fewer, accuracy may be off by 0.07 and more either way


def limits(metrics: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """Return what to know before the model is relied on, as lines of Markdown.

    Args:
        metrics: the content of `metrics.json`; what it lacks is left out.
        record: the content of `run.json`, likewise.
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
    for name, each in metrics.get("baselines", {}).items():
        if each.get("accuracy", -1.0) >= accuracy:
            rival = BASELINES.get(name) or text(name)
            yield (
                f"It is not better than a far cheaper baseline, {rival}: accuracy {accuracy:.3f} "
                f"against {each['accuracy']:.3f}."
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
    pairs = metrics.get("confused_pairs")
    if pairs is None:
        pairs = _pairs_of(metrics["labels"], metrics["test"]["confusion_matrix"])
    per_label = metrics["test"]["per_label"]
    shown = "; ".join(
        f"{text(pair['true'])} taken for {text(pair['predicted'])} ({pair['count']:,} of "
        f"{tested(per_label[pair['true']]['support'])})"
        for pair in pairs[:_MOST]
    )
    if shown:
        yield f"Confused most: {shown}."


def _pairs_of(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Return the mistakes of a confusion matrix, rows true, the commonest first."""
    pairs = [
        {"true": labels[row], "predicted": labels[column], "count": count}
        for row, counts in enumerate(matrix)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(pairs, key=lambda pair: -int(pair["count"]))


def _caveats(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield the evaluation's own caveats; without them, small test data and the worst slices."""
    if "caveats" in metrics:
        for caveat in metrics["caveats"]:
            line = text(caveat, limit=_LONGEST_CAVEAT)
            yield line[:1].upper() + line[1:] + ("" if line.endswith(".") else ".")
        return
    count = metrics["test"]["num_examples"]
    if count < _FEW_TESTED:
        yield f"Only {tested(count)}: all scores are rough."
    worse = [each for each in metrics.get("slices", ()) if each.get("is_worse")]
    for each in sorted(worse, key=lambda each: float(each["accuracy"]))[:_MOST]:
        ends = each.get("interval")
        interval = f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else ""
        yield (
            f"Worse where {text(each['by'])} is {text(str(each['value']))}: accuracy "
            f"{each['accuracy']:.3f}{interval} on {tested(each['num_examples'])}."
        )


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
    calibration = metrics.get("calibration") or {}
    error = (calibration.get("after") or {}).get("ece")
    if error is None:
        return "How far its probabilities can be relied on was not measured."
    line = (
        f"Its probabilities differ from the share of right answers by {error:.3f} on average "
        "(expected calibration error on the test examples"
    )
    temperature = calibration.get("temperature")
    if temperature is not None:
        line += f", with a temperature of {temperature:.3g} that is part of the weights"
    return line + ")."
