"""Figures of one run: learning curves and the confusion matrix, drawn and not yet written.

Drawn on `Figure` objects alone: pyplot, its windows and its global list of figures stay
untouched, so that plotting works the same in a notebook, a server and a container.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Blue and vermilion stay apart for every kind of color vision; the curves also differ in marker
# and dash. Source: Okabe and Ito, "Color Universal Design" (2008).
BLUE = "#0072B2"
VERMILION = "#D55E00"
INK = "#2b2f36"
FAINT = "#d9dce1"
CELL_INK = "#1c2430"  # on colored cells, which keep their colors in the dark

LONGEST_LABEL = 22  # characters; longer ones are cut in the plots, never in the tables
SHARES_UP_TO = 12  # labels; with more of them a cell holds its count alone
COUNTS_UP_TO = 50  # labels; with more of them a cell is a color alone


def learning_curves(
    history: Sequence[Mapping[str, Any]], metric: str, title: str, kept_epoch: int | None
) -> Figure:
    """Draw training and validation `metric` per epoch; one epoch shows as two markers."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(5.2, 3.2))
    axes = figure.add_subplot()
    epochs = [row["epoch"] for row in history]
    for key, color, marker, line in (
        ("train", BLUE, "o", "--"),
        ("validation", VERMILION, "s", "-"),
    ):
        values = [row.get(f"{key}_{metric}", np.nan) for row in history]
        name = "training" if key == "train" else key
        axes.plot(epochs, values, color=color, marker=marker, linestyle=line, ms=5, label=name)
    if kept_epoch:  # 0 is the start, before all that is drawn
        axes.axvline(
            kept_epoch, color=INK, linewidth=1.3, linestyle=":", zorder=0, label="kept epoch"
        )
    axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("Epoch")
    axes.set_ylabel(title)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.tick_params(length=0)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return figure


def confusion_matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Figure:
    """Draw counts over row shares: the darker, the larger the share of the true label."""
    from matplotlib.figure import Figure

    counts = np.array(matrix, dtype=np.int64)  # (C, C)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = plot_labels(labels)
    numbered = any(name[0] == "#" != label[:1] for name, label in zip(names, labels, strict=True))
    size = len(names)
    cell = 0.75 if size <= SHARES_UP_TO else 0.3
    side = min(max(2.2, cell * size), 15.0)
    figure = Figure(figsize=(side + 1.9, side + 1.3))
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, interpolation="none")
    if size <= COUNTS_UP_TO:
        for row, column in np.ndindex(size, size):
            count, share = int(counts[row, column]), shares[row, column]
            if size > SHARES_UP_TO and count == 0:
                continue  # a field of zeros hides the mistakes
            text = f"{count:,}\n{share:.0%}" if size <= SHARES_UP_TO else f"{count}"
            ink = "white" if share > 0.55 else CELL_INK
            fontsize = 9 if size <= SHARES_UP_TO else 6.5
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=fontsize)
    step = 1 if size <= COUNTS_UP_TO else int(np.ceil(size / COUNTS_UP_TO))
    ticks = range(0, size, step)
    shown = [names[i] for i in ticks]
    # Labels are data: "$x$" in one is no formula.
    axes.set_yticks(ticks, shown, parse_math=False)
    axes.set_xticks(ticks, shown, parse_math=False)
    if size > 3:
        for tick in axes.get_xticklabels():
            tick.set(rotation=45, ha="right", rotation_mode="anchor")
    key = " (# = row in the table of scores per label)" if numbered else ""
    axes.set_xlabel(f"Predicted label{key}")
    axes.set_ylabel("True label")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2 if size <= SHARES_UP_TO else 0.5)
    axes.tick_params(which="minor", length=0)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, format="{x:.0%}")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.set_label("Share of the true label")
    return figure


def plot_labels(labels: Sequence[str]) -> list[str]:
    """Return labels fit for a plot: one line, cut when long, numbered when the font lacks them.

    matplotlib ships one font, DejaVu Sans; a label in a script that it lacks would come out as
    boxes and a warning, so it is shown as "#" and its row in the tables beside the plot.
    """
    from matplotlib import font_manager, get_data_path

    font = font_manager.get_font(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
    known = font.get_charmap()
    shown = []
    for number, label in enumerate(labels, start=1):
        line = " ".join(label.split())
        if not line or any(ord(character) not in known for character in line):
            line = f"#{number}"
        elif len(line) > LONGEST_LABEL:
            line = line[: LONGEST_LABEL - 1] + "…"
        shown.append(line)
    return shown
