"""Figures of predicted numbers beside true ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lasttoken.evaluation.report.figures import BLUE, FAINT, INK, VERMILION

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def predicted_beside_true(
    points: Sequence[Sequence[float]], bins: Sequence[Mapping[str, Any]]
) -> Figure:
    """Draw true against predicted values, and the mean true value of each range of predictions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.4))
    axes = figure.add_subplot()
    pairs = np.array(points)
    least, most = float(pairs.min()), float(pairs.max())
    axes.plot(
        [least, most], [least, most], color=INK, linewidth=0.9, linestyle=":", label="perfect"
    )
    axes.scatter(
        pairs[:, 1], pairs[:, 0], s=9, color=BLUE, alpha=0.35, linewidths=0, label="a text"
    )
    true = np.array([each["true"] for each in bins])
    ends = np.array([each["true_interval"] or [each["true"]] * 2 for each in bins])
    axes.errorbar(
        [each["predicted"] for each in bins], true, yerr=np.abs(ends.T - true), color=VERMILION,
        marker="s", linestyle="-", markersize=4, linewidth=1.3, elinewidth=0.8,
        label="mean true value",
    )  # fmt: skip
    axes.set_xlabel("Predicted value")
    axes.set_ylabel("True value")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.tick_params(length=0)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return figure


def set_size_bars(sizes: Sequence[Mapping[str, int]]) -> Figure:
    """Draw how many examples have, and are given, 0, 1, 2 ... labels."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(5.2, 3.0))
    axes = figure.add_subplot()
    places = np.array([each["size"] for each in sizes])
    for key, color, hatch, shift in (("true", VERMILION, "//", -0.2), ("given", BLUE, "", 0.2)):
        counts = [each[key] for each in sizes]
        axes.bar(
            places + shift, counts, width=0.4, color=color, hatch=hatch, edgecolor="white",
            label=key,
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("Labels of a text")
    axes.set_ylabel("Test examples")
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure
