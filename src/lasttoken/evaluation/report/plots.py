"""Plots: learning curves and the confusion matrix, as PNG and SVG files.

Drawn on `Figure` objects alone: pyplot, its windows and its global list of figures stay
untouched, so that plotting works the same in a notebook, a server and a container.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lasttoken.evaluation.metrics import ClassificationMetrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Blue and vermilion stay apart for every kind of color vision; the curves also differ in marker
# and dash. Source: Okabe and Ito, "Color Universal Design" (2008).
TRAIN_COLOR = "#0072B2"
VALIDATION_COLOR = "#D55E00"
INK = "#2b2f36"
FAINT = "#d9dce1"

LONGEST_LABEL = 22  # characters; longer ones are cut in the plots, never in the tables
SHARES_UP_TO = 12  # labels; with more of them a cell holds its count alone
COUNTS_UP_TO = 50  # labels; with more of them a cell is a color alone


def write_plots(
    folder: Path,
    history: Sequence[Mapping[str, float]],
    metrics: ClassificationMetrics,
    best_epoch: int | None,
) -> dict[str, str]:
    """Draw `loss`, `accuracy` and `confusion_matrix`, each as `.png` and `.svg`, into `folder`.

    The same numbers give the same bytes. Without history only the confusion matrix is drawn.

    Args:
        folder: made if it is missing.
        history: a mapping an epoch, with the keys of `history.jsonl`.
        metrics: whose confusion matrix is drawn.
        best_epoch: the kept epoch, counted from 1; marked in the curves.

    Returns:
        name to SVG element, ready to stand inside a page: no prolog or namespace, ids of its own.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    from matplotlib import style

    folder.mkdir(parents=True, exist_ok=True)
    svgs = {}
    # "default" shields the plots from the user's own matplotlib settings.
    with style.context(["default", _STYLE]):
        figures = {}
        if history:
            figures["loss"] = _curves(history, "loss", "Loss (nats per example)", best_epoch)
            figures["accuracy"] = _curves(history, "accuracy", "Accuracy", best_epoch)
        figures["confusion_matrix"] = _confusion_matrix(metrics)
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
            figure.savefig(folder / f"{name}.svg", metadata=_NO_METADATA)
            svgs[name] = _inline(name, (folder / f"{name}.svg").read_text(encoding="utf-8"))
    return svgs


_STYLE: dict[str, Any] = {
    # Letters stay text and are not turned into outlines: a matrix of 28 labels is 20 times
    # smaller, its labels can be searched, copied and read aloud, and the page's font is used.
    "svg.fonttype": "none",
    "svg.hashsalt": "lasttoken",  # ids from the content, not from chance
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.constrained_layout.use": True,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.06,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def _curves(
    history: Sequence[Mapping[str, float]], metric: str, title: str, best_epoch: int | None
) -> Figure:
    """Draw training and validation `metric` per epoch; one epoch shows as two markers."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(5.2, 3.2))
    axes = figure.add_subplot()
    epochs = [row["epoch"] for row in history]
    for key, color, marker, line in (
        ("train", TRAIN_COLOR, "o", "--"),
        ("validation", VALIDATION_COLOR, "s", "-"),
    ):
        values = [row.get(f"{key}_{metric}", np.nan) for row in history]
        name = "training" if key == "train" else key
        axes.plot(epochs, values, color=color, marker=marker, linestyle=line, ms=5, label=name)
    if best_epoch is not None:
        axes.axvline(
            best_epoch, color=INK, linewidth=1.3, linestyle=":", zorder=0, label="kept epoch"
        )
    axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("Epoch")
    axes.set_ylabel(title)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.tick_params(length=0)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return figure


def _confusion_matrix(metrics: ClassificationMetrics) -> Figure:
    """Draw counts over row shares: the darker, the larger the share of the true label."""
    from matplotlib.figure import Figure

    counts = np.array(metrics.confusion_matrix, dtype=np.int64)  # (C, C)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = [entry.label for entry in metrics.per_label]
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
            ink = "white" if share > 0.55 else INK
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


def _inline(name: str, svg: str) -> str:
    """Return the SVG element of a file, its ids made unique beside the page's other plots."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg, count=2)  # HTML knows both namespaces
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    return svg.strip()
