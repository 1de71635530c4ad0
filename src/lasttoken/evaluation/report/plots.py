"""Plots: what the numbers look like, as PNG and SVG files and as elements of the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lasttoken.evaluation.report.figures import FAINT, INK, confusion_matrix, learning_curves
from lasttoken.evaluation.report.number_figures import predicted_beside_true, set_size_bars
from lasttoken.evaluation.report.score_figures import (
    coverage_curve,
    coverage_curves,
    ranking_curves,
    reliability_diagram,
    threshold_curves,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Drawings = Mapping[str, Callable[[], "Figure"]]  # name to what draws it


def write_plots(folder: Path, metrics: Mapping[str, Any]) -> dict[str, str]:
    """Draw what the numbers of `metrics.json` look like, each plot as `.png` and `.svg`.

    The same numbers give the same bytes. Plots whose numbers are missing are left out.

    Args:
        folder: made if it is missing.
        metrics: the content of `metrics.json`.

    Returns:
        name to SVG element, ready to stand inside a page: no prolog or namespace, ids of its own,
        and no style attribute, which the page's security policy forbids.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    return write_figures(folder, _drawings(metrics))


def write_comparison_plots(folder: Path, content: Mapping[str, Any]) -> dict[str, str]:
    """Draw what the numbers of `comparison.json` look like; as `write_plots`."""
    return write_figures(folder, _COMPARED[content["task"]](content))


def _compared_single_labels(content: Mapping[str, Any]) -> Drawings:
    runs = content["runs"]
    matrices = {
        f"confusion_matrix_{number}": partial(
            confusion_matrix, content["labels"], run["scores"]["confusion_matrix"]
        )
        for number, run in enumerate(runs.values(), start=1)
    }
    abstaining = {name: run["abstaining"] for name, run in runs.items()}
    return {"coverage": partial(coverage_curves, abstaining), **matrices}


def _compared_sets(content: Mapping[str, Any]) -> Drawings:
    return {}  # the tables tell all


def _compared_numbers(content: Mapping[str, Any]) -> Drawings:
    return {
        f"predicted_{number}": partial(predicted_beside_true, run["points"], run["bins"])
        for number, run in enumerate(content["runs"].values(), start=1)
    }


_COMPARED: Mapping[str, Callable[[Mapping[str, Any]], Drawings]] = {
    "single-label": _compared_single_labels,
    "ordinal": _compared_single_labels,
    "multi-label": _compared_sets,
    "regression": _compared_numbers,
}


def write_figures(folder: Path, drawings: Drawings) -> dict[str, str]:
    """Draw figures, and write each as `.png` and `.svg`.

    Args:
        folder: made if it is missing.
        drawings: name to what draws it, such as `figures.learning_curves` with its arguments.

    Returns:
        As `write_plots`.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    from matplotlib import style

    folder.mkdir(parents=True, exist_ok=True)
    svgs = {}
    # "default" shields the plots from the user's own matplotlib settings.
    with style.context(["default", _STYLE]):
        for name, draw in drawings.items():
            figure = draw()
            figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
            figure.savefig(folder / f"{name}.svg", metadata=_NO_METADATA)
            svgs[name] = _inline(name, (folder / f"{name}.svg").read_text(encoding="utf-8"))
    return svgs


def _drawings(metrics: Mapping[str, Any]) -> Drawings:
    """Return the plots that these numbers allow, by name."""
    return _DRAWINGS[metrics["task"]](metrics)


def _of_single_labels(metrics: Mapping[str, Any]) -> Drawings:
    labels, matrix = metrics["labels"], metrics["test"]["confusion_matrix"]
    return {
        **_learning(metrics, accuracy="Accuracy"),
        "confusion_matrix": lambda: confusion_matrix(labels, matrix),
        "reliability": lambda: reliability_diagram(metrics["calibration"]),
        "coverage": lambda: coverage_curve(metrics["abstaining"]),
        **_ranking(metrics),
        "thresholds": lambda: threshold_curves(metrics["thresholds"]),
    }


def _of_sets(metrics: Mapping[str, Any]) -> Drawings:
    return {
        **_learning(metrics, accuracy="Exactly the true labels"),
        "set_sizes": lambda: set_size_bars(metrics["set_sizes"]),
        "reliability": lambda: reliability_diagram(
            metrics["calibration"],
            right="Share that has the label",
            probability="Probability of the label",
            counted="Labels of texts",
        ),
        **_ranking(metrics),
        "thresholds": lambda: threshold_curves(metrics["thresholds"]),
    }


def _of_numbers(metrics: Mapping[str, Any]) -> Drawings:
    return {
        **_learning(metrics, loss="Mean squared error"),
        "predicted": lambda: predicted_beside_true(metrics["points"], metrics["bins"]),
    }


def _learning(metrics: Mapping[str, Any], **titles: str) -> Drawings:
    """Return the learning curves: of the loss, and of what else has a title."""
    training = metrics["training"]
    if training is None:
        return {}
    return {
        name: partial(learning_curves, training["history"], name, title, training["kept_epoch"])
        for name, title in {"loss": "Loss (nats per example)", **titles}.items()
    }


def _ranking(metrics: Mapping[str, Any]) -> Drawings:
    """Return the curves of labels that have some."""
    curves = {
        label: entry["curves"]
        for label, entry in metrics["ranking"]["per_label"].items()
        if entry is not None and "curves" in entry
    }
    names = ("roc", "precision_recall") if curves else ()
    return {name: partial(ranking_curves, curves, name) for name in names}


_DRAWINGS: Mapping[str, Callable[[Mapping[str, Any]], Drawings]] = {
    "single-label": _of_single_labels,
    "ordinal": _of_single_labels,
    "multi-label": _of_sets,
    "regression": _of_numbers,
}


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


def _inline(name: str, svg: str) -> str:
    """Return the SVG element of a file as a part of a page.

    Its ids become unique beside the page's other plots; style attributes become the attributes
    that they stand for, and the page's style sheet gives the font.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg, count=2)  # HTML knows both namespaces
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' style="([^"]*)"', lambda match: _attributes(match.group(1)), svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    return svg.strip()


def _attributes(style: str) -> str:
    """Return a style's properties as attributes: "fill: none; opacity: 0.5" and the like."""
    pairs = [part.partition(":") for part in style.split(";") if part.strip()]
    kept = [(key.strip(), value.strip()) for key, _, value in pairs if key.strip() != "font-family"]
    return "".join(f' {key}="{value}"' for key, value in kept)
