"""What the model card of each kind of task says: columns, sentences, the call of transformers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lasttoken.evaluation.headline import ACCURACY, MACRO_F1, MEAN_ERROR, Headline
from lasttoken.evaluation.report.markdown import table, text

LABELS_SHOWN = 30  # the weakest of more labels

_MEASURED_ON = (
    "It was measured on nothing but the test examples; before other texts are given to it, measure "
    "it on labeled ones: `lasttoken evaluate MODEL other.csv`."
)


class Form(Protocol):
    """How a score is shown."""

    def __call__(self, value: float, signed: bool = False) -> str:
        """Return a score, with its sign if it is a difference."""


@dataclass(frozen=True)
class CardKind:
    """The card of a kind of task.

    Attributes:
        noun: what the model is, behind "A text".
        gives: labels to the sentence of what it gives a text.
        columns: what `lasttoken predict` adds.
        arguments: of the pipeline's call, beside the text.
        plain: what to know of the pipeline, or nothing.
        scores: keys of the results' columns, to their titles.
        form: how these are shown.
        headline: the score whose difference to baselines is shown.
        gained: title of that column.
        hub_scores: key, the Hub's type of metric, its name, and arguments.
        details: `metrics.json` to what follows the scores.
        intended: `metrics.json` to what the model is meant for.
    """

    noun: str
    gives: Callable[[Sequence[str]], str]
    columns: str
    arguments: str
    plain: str
    scores: Mapping[str, str]
    form: Form
    headline: Headline
    gained: str
    hub_scores: Sequence[tuple[str, str, str, dict[str, Any] | None]]
    details: Callable[[Mapping[str, Any]], Iterator[str]]
    intended: Callable[[Mapping[str, Any]], str]


def scored(scores: Mapping[str, Any], name: str, form: Form) -> str:
    """Return a score and its interval, if there is one: baselines have none."""
    if scores[name] is None:
        return "n/a"
    interval = scores.get("intervals", {}).get(name)
    ends = f" ({form(interval[0])} to {form(interval[1])})" if interval else ""
    return f"{form(scores[name])}{ends}"


def _share(value: float, signed: bool = False) -> str:
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def _number(value: float, signed: bool = False) -> str:
    return f"{value:+.4g}" if signed else f"{value:.4g}"


def _label_list(labels: Sequence[str]) -> str:
    shown = ", ".join(text(label) for label in labels[:LABELS_SHOWN])
    more = f" and {len(labels) - LABELS_SHOWN:,} more" if len(labels) > LABELS_SHOWN else ""
    return shown + more


def _one_of(labels: Sequence[str]) -> str:
    return f"It gives a text one of {len(labels):,} labels: {_label_list(labels)}."


def _one_in_order(labels: Sequence[str]) -> str:
    return (
        f"It gives a text one of {len(labels):,} labels, from the lowest to the highest: "
        f"{_label_list(labels)}."
    )


def _any_of(labels: Sequence[str]) -> str:
    return f"It gives a text any number of {len(labels):,} labels, or none: {_label_list(labels)}."


def _a_number(labels: Sequence[str]) -> str:
    return f"It gives a text a number: {text(labels[0])}."


def _per_label(metrics: Mapping[str, Any]) -> Iterator[str]:
    per_label = sorted(metrics["test"]["per_label"].items(), key=lambda item: float(item[1]["f1"]))
    if len(per_label) > LABELS_SHOWN:
        yield f"The {LABELS_SHOWN} labels of the lowest F1, of {len(per_label):,}:"
    else:
        yield "By label, the lowest F1 first:"
    head = ("label", "precision", "recall", "F1", "test examples")
    yield table(
        head,
        [
            (
                text(label),
                *(scored(each, name, _share) for name in ("precision", "recall", "f1")),
                f"{each['support']:,}",
            )
            for label, each in per_label[:LABELS_SHOWN]
        ],
    )


def _per_place(metrics: Mapping[str, Any]) -> Iterator[str]:
    yield "How far off answers are, in places of the labels' order:"
    names = {
        "mae": "mean distance",
        "within_one": "at most one place off",
        "quadratic_weighted_kappa": "quadratic weighted kappa",
        "spearman": "rank correlation",
    }
    test = metrics["test"]
    yield table(tuple(names.values()), [tuple(scored(test, name, _share) for name in names)])
    yield from _per_label(metrics)


def _per_range(metrics: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (f"{each['level']:.0%}", f"{each['reach']:.4g}", f"{each['test']['share']:.1%}")
        for each in metrics["ranges"]
        if each["reach"] is not None
    ]
    if rows:
        yield (
            "Around a prediction lies a range that should hold the true value of a share of all "
            "texts; its reach was found on validation examples:"
        )
        yield table(("should hold", "plus and minus", "held, test"), rows)


def _sort_into_one(metrics: Mapping[str, Any]) -> str:
    low, high = metrics["test"]["intervals"]["accuracy"]
    # Rounded outwards, to hold the truth as often as the interval does.
    fewest, most = math.floor(100 * (1 - high)), math.ceil(100 * (1 - low))
    return (
        "Sorting texts of the kind it was trained on, in the same language, into the labels above. "
        f"Between {fewest} and {most} of 100 such texts get a wrong label: where that costs much, "
        "let a person look, first of all at the texts whose probability is low. " + _MEASURED_ON
    )


def _sort_into_any(metrics: Mapping[str, Any]) -> str:
    low, high = metrics["test"]["intervals"]["subset_accuracy"]
    fewest, most = math.floor(100 * (1 - high)), math.ceil(100 * (1 - low))
    return (
        "Finding the labels above in texts of the kind it was trained on, in the same language. Of "
        f"between {fewest} and {most} of 100 such texts a label is missed or wrongly given: where "
        "that costs much, let a person look, first of all where a probability is near its "
        "threshold. " + _MEASURED_ON
    )


def _estimate(metrics: Mapping[str, Any]) -> str:
    return (
        "Estimating the number above for texts of the kind it was trained on, in the same language "
        "and on the same scale. It is off by "
        f"{scored(metrics['test'], 'mae', _number)} on average: where that costs much, let a "
        "person look. " + _MEASURED_ON
    )


_SINGLE_SCORES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "mcc": "MCC",
    "log_loss": "log loss",
}
_SINGLE_HUB = (
    ("accuracy", "accuracy", "Accuracy", None),
    ("macro_f1", "f1", "Macro F1", {"average": "macro"}),
)
CARDS: Mapping[str, CardKind] = {
    "single-label": CardKind(
        "classifier", _one_of, "labels and probabilities", "", "", _SINGLE_SCORES, _share, ACCURACY,
        "accuracy gained by this model", _SINGLE_HUB, _per_label, _sort_into_one,
    ),
    "ordinal": CardKind(
        "classifier", _one_in_order, "labels and probabilities", "", "", _SINGLE_SCORES, _share,
        ACCURACY, "accuracy gained by this model", _SINGLE_HUB, _per_place, _sort_into_one,
    ),
    "multi-label": CardKind(
        "classifier", _any_of, "label sets and probabilities", "top_k=None, ",
        " It tells the probability of every label; the threshold from which on lasttoken gives a "
        "label stands in `lasttoken.json`.",
        {
            "macro_f1": "macro F1",
            "micro_f1": "micro F1",
            "samples_f1": "F1 of texts",
            "subset_accuracy": "exactly right",
            "macro_average_precision": "macro PR area",
            "log_loss": "log loss",
        },
        _share, MACRO_F1, "macro F1 gained by this model",
        (
            ("macro_f1", "f1", "Macro F1", {"average": "macro"}),
            ("micro_f1", "f1", "Micro F1", {"average": "micro"}),
            ("subset_accuracy", "accuracy", "Subset accuracy", None),
        ),
        _per_label, _sort_into_any,
    ),
    "regression": CardKind(
        "scorer", _a_number, "predicted values", 'function_to_apply="none", ',
        " Its score is the number itself.",
        {
            "mae": "mean absolute error",
            "rmse": "RMSE",
            "r2": "R²",
            "pearson": "correlation",
            "spearman": "rank correlation",
        },
        _number, MEAN_ERROR, "error of this model minus its",
        (
            ("mae", "mae", "Mean absolute error", None),
            ("r2", "r_squared", "R squared", None),
            ("spearman", "spearmanr", "Rank correlation", None),
        ),
        _per_range, _estimate,
    ),
}  # fmt: skip
