"""What the report of several runs side by side consists of, for each kind of task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

_SCORES = {"scores": "Scores", "pairs": "Differences, pair by pair"}
_LABELS = {"labels": "Each label"}
_END = {"cost": "Cost", "settings": "Settings that differ"}


@dataclass(frozen=True)
class ComparedLayout:
    """The report of runs of a kind of task.

    Attributes:
        sections: id to title, in the order of the page.
        scores: keys of the scores to their titles.
        lower: of which lower is better, in words.
        in_unit: whether scores have the unit of the data, and are no shares.
        differences: keys of the differences to their titles.
        counts: keys of counts of examples, likewise.
        named_by: what names the better one.
        tested: what p is, in a sentence; nothing where there is none.
        drawn: name of each run's plot, before its number.
        drawn_title: what it shows.
    """

    sections: Mapping[str, str]
    scores: Mapping[str, str]
    lower: str
    in_unit: bool
    differences: Mapping[str, str]
    counts: Mapping[str, str]
    named_by: str
    tested: str
    drawn: str
    drawn_title: str


_RIGHTS = {
    "only_first_right": "Only the first right",
    "only_second_right": "Only the second right",
}
_SINGLE_LABEL = ComparedLayout(
    sections={**_SCORES, **_LABELS, "abstaining": "Accuracy by coverage", **_END},
    scores={
        "accuracy": "Accuracy",
        "macro_f1": "Macro F1",
        "weighted_f1": "Weighted F1",
        "mcc": "MCC",
        "log_loss": "Log loss",
        "brier": "Brier score",
    },
    lower="Log loss, Brier score and calibration error",
    in_unit=False,
    differences={"accuracy": "Accuracy", "macro_f1": "Macro F1"},
    counts=_RIGHTS,
    named_by="the accuracies",
    tested=" p is McNemar's exact test.",
    drawn="confusion_matrix",
    drawn_title="Confusion matrix",
)
COMPARED: Mapping[str, ComparedLayout] = {
    "single-label": _SINGLE_LABEL,
    "ordinal": replace(
        _SINGLE_LABEL,
        scores={
            **_SINGLE_LABEL.scores,
            "mae": "Mean distance, places",
            "within_one": "At most one place off",
            "quadratic_weighted_kappa": "Quadratic weighted kappa",
            "spearman": "Rank correlation",
        },
        lower="Log loss, Brier score, mean distance and calibration error",
        differences={**_SINGLE_LABEL.differences, "mae": "Mean distance"},
    ),
    "multi-label": ComparedLayout(
        sections={**_SCORES, **_LABELS, **_END},
        scores={
            "macro_f1": "Macro F1",
            "micro_f1": "Micro F1",
            "samples_f1": "F1 of texts",
            "subset_accuracy": "Exactly right",
            "hamming_loss": "Hamming loss",
            "log_loss": "Log loss",
            "brier": "Brier score",
        },
        lower="Hamming loss, log loss, Brier score and calibration error",
        in_unit=False,
        differences={
            "macro_f1": "Macro F1",
            "micro_f1": "Micro F1",
            "samples_f1": "F1 of texts",
            "subset_accuracy": "Exactly right",
        },
        counts=_RIGHTS,
        named_by="macro F1",
        tested=" p is McNemar's exact test of how many texts were exactly right.",
        drawn="",
        drawn_title="",
    ),
    "regression": ComparedLayout(
        sections={**_SCORES, "values": "Predicted beside true values", **_END},
        scores={
            "mae": "Mean absolute error",
            "rmse": "RMSE",
            "bias": "Bias",
            "r2": "R²",
            "pearson": "Correlation (Pearson)",
            "spearman": "Rank correlation (Spearman)",
        },
        lower="Errors",
        in_unit=True,
        differences={"mae": "Mean absolute error", "rmse": "RMSE"},
        counts={"first_nearer": "The first nearer", "second_nearer": "The second nearer"},
        named_by="the mean absolute errors",
        tested="",
        drawn="predicted",
        drawn_title="True against predicted values",
    ),
}
