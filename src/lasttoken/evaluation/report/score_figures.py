"""Figures of scores: reliability, coverage, ROC and precision-recall curves, thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lasttoken.evaluation.report.figures import BLUE, FAINT, INK, VERMILION, plot_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES_UP_TO = 8  # labels told apart by color and dash; of more, all are thin and none is named
PANELS_UP_TO = 6  # labels that get a panel of thresholds

# After Okabe and Ito, as in `figures`; yellow is left out, which white paper swallows.
_COLORS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
_DASHES = ("-", "--", "-.", ":")


def reliability_diagram(
    calibration: Mapping[str, Any],
    *,
    right: str = "Accuracy",
    probability: str = "Probability of the predicted label",
    counted: str = "Examples",
) -> Figure:
    """Draw accuracy by confidence before and after temperature scaling, and examples by both.

    Args:
        calibration: of `metrics.json`.
        right: what is true of a share of them.
        probability: of what.
        counted: what is binned.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.4))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle=":", label="perfect")
    for name, color, marker, line in (
        ("before", VERMILION, "o", "--"),
        ("after", BLUE, "s", "-"),
    ):
        bins = [each for each in calibration[name]["bins"] if each["num_examples"]]
        confidence = [each["confidence"] for each in bins]
        accuracy = np.array([each["accuracy"] for each in bins])
        ends = np.array([each["accuracy_interval"] for each in bins])
        reach = np.abs(ends.T - accuracy)
        top.errorbar(
            confidence, accuracy, yerr=reach, color=color, marker=marker, linestyle=line,
            markersize=4, linewidth=1.3, elinewidth=0.8, label=f"{name} scaling",
        )  # fmt: skip
        every = calibration[name]["bins"]
        edges = [each["low"] for each in every] + [every[-1]["high"]]
        counts = [each["num_examples"] for each in every]
        bottom.stairs(counts, edges, color=color, linestyle=line, linewidth=1.3)
    top.set_ylabel(right)
    top.set_ylim(-0.02, 1.02)
    bottom.set_xlabel(probability)
    bottom.set_ylabel(counted)
    _quiet(top, bottom)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return figure


def coverage_curve(abstaining: Mapping[str, Any]) -> Figure:
    """Draw accuracy against the share of texts that is answered, the surest first."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.4))
    axes = figure.add_subplot()
    curve = abstaining["curve"]
    axes.plot(curve["coverage"], curve["accuracy"], color=BLUE, linewidth=1.6, label="on the test")
    levels = abstaining["levels"]
    if levels:
        axes.plot(
            [each["coverage"] for each in levels], [each["promised"] for each in levels],
            color=VERMILION, marker="o", markersize=3.5, linestyle="--", linewidth=1.0,
            label="promised by the validation examples",
        )  # fmt: skip
    axes.set_xlabel("Share of texts that is answered")
    axes.set_ylabel("Accuracy of the answers")
    axes.set_xlim(0, 1.02)
    _quiet(axes)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure


def coverage_curves(abstaining: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw accuracy against the share of texts that is answered, a curve a run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.8))
    axes = figure.add_subplot()
    for number, (name, each) in enumerate(
        zip(plot_labels(list(abstaining)), abstaining.values(), strict=True)
    ):
        axes.plot(
            each["curve"]["coverage"], each["curve"]["accuracy"],
            color=_COLORS[number % len(_COLORS)], linestyle=_DASHES[number % len(_DASHES)],
            linewidth=1.5, label=_literal(name),
        )  # fmt: skip
    axes.set_xlabel("Share of texts that is answered")
    axes.set_ylabel("Accuracy of the answers")
    axes.set_xlim(0, 1.02)
    _quiet(axes)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def ranking_curves(curves: Mapping[str, Mapping[str, Any]], kind: str) -> Figure:
    """Draw the "roc" or "precision_recall" curve of every label against the rest."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.0))
    axes = figure.add_subplot()
    is_named = len(curves) <= CURVES_UP_TO
    for number, (name, curve) in enumerate(
        zip(plot_labels(list(curves)), curves.values(), strict=True)
    ):
        points = np.array(curve[kind])
        axes.plot(
            points[:, 0], points[:, 1], color=_COLORS[number % len(_COLORS)],
            linestyle=_DASHES[number % len(_DASHES)], linewidth=1.5 if is_named else 0.7,
            drawstyle="steps-pre" if kind == "precision_recall" else "default",
            label=_literal(name),
        )  # fmt: skip
    if kind == "roc":
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle=":")
        axes.set_xlabel("False positive rate")
        axes.set_ylabel("True positive rate")
    else:
        axes.set_xlabel("Recall")
        axes.set_ylabel("Precision")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    _quiet(axes)
    if is_named:
        figure.legend(loc="outside right upper", frameon=False)
    return figure


def threshold_curves(thresholds: Mapping[str, Any]) -> Figure:
    """Draw precision, recall and F1 by threshold, a panel a label."""
    from matplotlib.figure import Figure

    shown = dict(list(thresholds.items())[:PANELS_UP_TO])
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.5 * rows + 0.4))
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes, name, entry in zip(panels, plot_labels(list(shown)), shown.values(), strict=False):
        curve = entry["curve"]
        for key, color, line in (
            ("precision", BLUE, "-"), ("recall", VERMILION, "--"), ("f1", INK, "-."),
        ):  # fmt: skip
            values = np.array(curve[key], dtype=np.float64)  # None becomes NaN: a gap
            axes.plot(curve["threshold"], values, color=color, linestyle=line, linewidth=1.3)
        if entry["best_f1"] is not None:
            axes.axvline(entry["best_f1"]["threshold"], color=INK, linewidth=1.0, linestyle=":")
        axes.set_title(_literal(name), fontsize=9)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    for axes in panels[: len(shown)][-columns:]:
        axes.set_xlabel("Threshold")
        axes.tick_params(labelbottom=True)  # also where the panel below is empty
    _quiet(*panels)
    lines = panels[0].get_lines()[:3]
    figure.legend(
        lines, ["precision", "recall", "F1"], loc="outside upper right", ncols=3, frameon=False
    )
    return figure


def _literal(name: str) -> str:
    """Return a label that matplotlib shows as it is: "$x$" is no formula, "_x" is not hidden."""
    shown = name.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _quiet(*panels: Axes) -> None:
    for axes in panels:
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.tick_params(length=0)
