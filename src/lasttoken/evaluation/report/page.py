"""The report: one HTML file that needs nothing but a browser.

No script, no link, no font or image from elsewhere: the file can be mailed, archived and opened
on a machine without network. Everything shown is escaped; only the plots' SVG is trusted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from lasttoken.durable import replace_file
from lasttoken.evaluation.baseline import MAJORITY, TFIDF, BaselineResult
from lasttoken.evaluation.metrics import ClassificationMetrics

BESIDE_UP_TO = 6  # labels; the plot of so few fits beside its table
FULL_MATRIX_UP_TO = 30  # labels; with more of them the table lists the commonest mistakes
MOST_MISTAKES = 15

BASELINE_NAMES = {
    MAJORITY: "Majority: always the commonest training label",
    TFIDF: "TF-IDF + logistic regression",
}
PLOT_TITLES = {"loss": "Loss", "accuracy": "Accuracy", "confusion_matrix": "Confusion matrix"}


@dataclass(frozen=True)
class ReportContent:
    """What the page shows, from top to bottom.

    Attributes:
        title: of the page, such as "movie-reviews with gpt2".
        verdict: the first thing read (see `verdict.verdict`).
        labels: C label strings in their stored order.
        test: the model's scores on the test examples.
        validation: on the validation examples, or None.
        baselines: scored on the same test examples.
        history: a mapping an epoch, with the keys of `history.jsonl`; may be empty.
        best_epoch: the kept epoch, counted from 1, or None.
        plots: name to SVG element, from `plots.write_plots`; the only trusted markup.
        facts: section ("Data", "Model", "Settings", "Cost", "Provenance") to name to value.
        notes: lines worth reading before the numbers are trusted.
    """

    title: str
    verdict: str
    labels: tuple[str, ...]
    test: ClassificationMetrics
    validation: ClassificationMetrics | None = None
    baselines: Sequence[BaselineResult] = ()
    history: Sequence[Mapping[str, float]] = ()
    best_epoch: int | None = None
    plots: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Mistake:
    """One cell of the confusion matrix off its diagonal."""

    true: str
    predicted: str
    count: int
    share: float


def write_report(path: Path, content: ReportContent) -> None:
    """Write the report as one HTML file, whole or not at all.

    Raises:
        OSError: the folder is missing or not writable.
    """
    replace_file(path, render_report(content).encode())


def render_report(content: ReportContent) -> str:
    """Return the report as HTML."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(share=_share, number=_number, count=_count, setting=_setting)
    source = resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        content=content,
        plots={name: Markup(svg) for name, svg in content.plots.items()},
        plot_titles=PLOT_TITLES,
        plot_texts=_plot_texts(content),
        baseline_names=BASELINE_NAMES,
        beside=len(content.labels) <= BESIDE_UP_TO,
        full_matrix=len(content.labels) <= FULL_MATRIX_UP_TO,
        mistakes=commonest_mistakes(content.test),
    )


def commonest_mistakes(metrics: ClassificationMetrics, limit: int = MOST_MISTAKES) -> list[Mistake]:
    """Return the largest cells off the diagonal, the larger share of its row first of equals."""
    names = [entry.label for entry in metrics.per_label]
    mistakes = [
        Mistake(names[row], names[column], count, count / sum(counts))
        for row, counts in enumerate(metrics.confusion_matrix)
        for column, count in enumerate(counts)
        if count > 0 and row != column
    ]
    return sorted(mistakes, key=lambda cell: (-cell.count, -cell.share))[:limit]


def _plot_texts(content: ReportContent) -> dict[str, str]:
    """Return what each plot shows in one sentence, for those who cannot see it."""
    texts = {
        "confusion_matrix": (
            f"Confusion matrix of {len(content.labels)} labels on "
            f"{content.test.num_examples:,} test examples; {content.test.num_correct:,} lie on "
            "the diagonal."
        )
    }
    if content.history:
        last = content.history[-1]
        for name in ("loss", "accuracy"):
            train, validation = last.get(f"train_{name}"), last.get(f"validation_{name}")
            texts[name] = (
                f"{PLOT_TITLES[name]} over {len(content.history)} epochs; at the end "
                f"{_number(train)} in training and {_number(validation)} in validation."
            )
    return texts


def _share(value: float | None) -> str:
    """Format a share of 1, such as accuracy: 0.912."""
    return "n/a" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _number(value: float | None) -> str:
    """Format any number with four digits: 0.6931, 12.35, 5e-05."""
    return "n/a" if value is None or not math.isfinite(value) else f"{value:.4g}"


def _count(value: float) -> str:
    """Format a whole number: 1,066."""
    return f"{value:,.0f}"


def _setting(value: object) -> str:
    """Format a baseline's setting: 104,870; 9.49; 1, 2."""
    if isinstance(value, list | tuple):
        return ", ".join(_setting(entry) for entry in value)
    return f"{value:,}" if isinstance(value, int) else str(value)
