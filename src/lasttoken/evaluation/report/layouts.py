"""What the report of each kind of task consists of: template, sections, and words for the plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

BESIDE_UP_TO = 6  # labels; the plot of so few fits beside its table
SHARES_UP_TO = 12  # labels; with more of them a share below each count makes the table too tall
NAMED_UP_TO = 14  # characters; where a label is longer, columns of the matrix are numbered
FULL_MATRIX_UP_TO = 30  # labels; of more the table lists the commonest mistakes

_END = {"slices": "Where it fails", "learning": "How it learned", "made": "How it was made"}
SECTIONS = {
    "baselines": "Beside its baselines",
    "labels": "Each label",
    "confusion": "Which labels are confused",
    "calibration": "Can its probabilities be believed",
    "abstaining": "Leave the unsure ones to a person",
    "thresholds": "A threshold for each label",
    "slices": "Where it fails",
    "label-issues": "Labels that look wrong",
    "learning": "How it learned",
    "made": "How it was made",
}
ORDINAL_SECTIONS = {
    "baselines": SECTIONS["baselines"],
    "labels": SECTIONS["labels"],
    "distance": "How far off",
    **SECTIONS,
}
SET_SECTIONS = {
    "baselines": SECTIONS["baselines"],
    "labels": SECTIONS["labels"],
    "sets": "Which labels go together",
    "calibration": SECTIONS["calibration"],
    "thresholds": SECTIONS["thresholds"],
    **_END,
}
NUMBER_SECTIONS = {
    "baselines": SECTIONS["baselines"],
    "values": "Predicted beside true values",
    "ranges": "How far off a text may be",
    **_END,
}
_BY_GRADIENTS = (
    "A word's weight is what its tokens add to the log odds of the answer, by integrated "
    "gradients; colors are relative to the strongest word of each text."
)


@dataclass(frozen=True)
class Layout:
    """The report of a kind of task.

    Attributes:
        template: its name in this folder.
        sections: id to title, in the order of the page.
        explained: method to what the weight of a word means.
        parts: `metrics.json` to further values of the template.
        plots: `metrics.json` to what each plot shows in one sentence, for those who cannot see it.
    """

    template: str
    sections: Mapping[str, str]
    explained: Mapping[str, str]
    parts: Callable[[Mapping[str, Any]], dict[str, Any]]
    plots: Callable[[Mapping[str, Any]], dict[str, str]]


def plot_texts(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return what each plot shows in one sentence, for those who cannot see it."""
    texts = LAYOUTS[metrics["task"]].plots(metrics)
    if metrics["training"] is not None:
        history = metrics["training"]["history"]
        last = history[-1]
        for name, title in (("loss", "Loss"), ("accuracy", "Accuracy")):
            if last[f"validation_{name}"] is not None:
                texts[name] = (
                    f"{title} over {len(history)} epochs; at the end {last[f'train_{name}']:.4g} "
                    f"in training and {last[f'validation_{name}']:.4g} in validation."
                )
    return texts


def _label_parts(metrics: Mapping[str, Any]) -> dict[str, Any]:
    num_labels = len(metrics["labels"])
    return {
        "num_labels": num_labels,
        "numbered": num_labels > BESIDE_UP_TO or max(map(len, metrics["labels"])) > NAMED_UP_TO,
        "beside": num_labels <= BESIDE_UP_TO,
        "full_matrix": num_labels <= FULL_MATRIX_UP_TO,
        "shares": num_labels <= SHARES_UP_TO,
        "calibrated": len(metrics["abstaining"]["levels"]) > 0,
        "asks_precision": _asks_precision(metrics),
    }


def _set_parts(metrics: Mapping[str, Any]) -> dict[str, Any]:
    chosen = (entry["best_f1"] for entry in metrics["thresholds"].values())
    return {
        "num_labels": len(metrics["labels"]),
        "calibrated": any(entry is not None for entry in chosen),
        "asks_precision": _asks_precision(metrics),
    }


def _number_parts(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {"num_labels": len(metrics["labels"])}


def _asks_precision(metrics: Mapping[str, Any]) -> bool:
    return any("precision_at_least" in each for each in metrics["thresholds"].values())


def _label_plots(metrics: Mapping[str, Any]) -> dict[str, str]:
    test, calibration = metrics["test"], metrics["calibration"]
    return {
        "confusion_matrix": (
            f"Confusion matrix of {len(metrics['labels'])} labels on "
            f"{test['num_examples']:,} test examples; {test['num_correct']:,} lie on the diagonal."
        ),
        "reliability": (
            "Accuracy by probability of the predicted label; calibration error "
            f"{calibration['before']['ece']:.3f} before scaling, "
            f"{calibration['after']['ece']:.3f} after."
        ),
        "coverage": "Accuracy of the answers by the share of texts that is answered; the table "
        "beside it holds the numbers.",
        **_curve_plots(),
    }


def _set_plots(metrics: Mapping[str, Any]) -> dict[str, str]:
    calibration = metrics["calibration"]
    return {
        "set_sizes": "Texts by the number of labels that they have, and that they are given; the "
        "table beside it holds the numbers.",
        "reliability": (
            "Share that has a label by its probability; calibration error "
            f"{calibration['before']['ece']:.3f} before scaling, "
            f"{calibration['after']['ece']:.3f} after."
        ),
        **_curve_plots(),
    }


def _curve_plots() -> dict[str, str]:
    return {
        "roc": "ROC curve of each label against the rest; the table above holds the areas.",
        "precision_recall": "Precision-recall curve of each label against the rest; the table "
        "above holds the areas.",
        "thresholds": "Precision, recall and F1 of each label by threshold; the table below holds "
        "the thresholds chosen.",
    }


def _number_plots(metrics: Mapping[str, Any]) -> dict[str, str]:
    test = metrics["test"]
    return {
        "predicted": (
            f"True against predicted values of {len(metrics['points']):,} test examples, mean "
            f"absolute error {test['mae']:.4g}; the table beside it holds the means."
        )
    }


_SINGLE_LABEL = Layout(
    "report.html.j2",
    SECTIONS,
    {
        "leave-one-out": (
            "A word's weight is how much less probable the answer becomes without it."
        ),
        "integrated-gradients": _BY_GRADIENTS,
    },
    _label_parts,
    _label_plots,
)
LAYOUTS: Mapping[str, Layout] = {
    "single-label": _SINGLE_LABEL,
    "ordinal": Layout(
        "report.html.j2", ORDINAL_SECTIONS, _SINGLE_LABEL.explained, _label_parts, _label_plots
    ),
    "multi-label": Layout(
        "multi_label.html.j2",
        SET_SECTIONS,
        {
            "leave-one-out": (
                "A word's weight is how much less probable the label that is named becomes "
                "without it."
            )
        },
        _set_parts,
        _set_plots,
    ),
    "regression": Layout(
        "regression.html.j2",
        NUMBER_SECTIONS,
        {
            "leave-one-out": (
                "A word's weight is how much smaller the predicted value becomes without it; "
                "colors are relative to the strongest word of each text."
            )
        },
        _number_parts,
        _number_plots,
    ),
}
