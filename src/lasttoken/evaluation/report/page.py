"""The report: one HTML file that needs nothing but a browser.

No script, no link, no font or image from elsewhere: the file can be mailed, archived and opened
on a machine without network. Everything shown is escaped; only the plots' SVG is trusted.

Every number comes from `metrics.json` and says where it stands there:

    <data value="0.8735" data-at="/test/accuracy">0.874</data>
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from lasttoken.durable import replace_file
from lasttoken.evaluation.baseline import BASELINE_NAMES
from lasttoken.evaluation.report.numbers import FILTERS, At

BESIDE_UP_TO = 6  # labels; the plot of so few fits beside its table
SHARES_UP_TO = 12  # labels; with more of them a share below each count makes the table too tall
NAMED_UP_TO = 14  # characters; where a label is longer, columns of the matrix are numbered
FULL_MATRIX_UP_TO = 30  # labels; of more the table lists the commonest mistakes

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
COMPARED = {
    "scores": "Scores",
    "pairs": "Differences, pair by pair",
    "labels": "Each label",
    "abstaining": "Accuracy by coverage",
    "cost": "Cost",
    "settings": "Settings that differ",
}
EXPLAINED = {
    "leave-one-out": "A word's weight is how much less probable the answer becomes without it.",
    "integrated-gradients": "A word's weight is what its tokens add to the log odds of the answer, "
    "by integrated gradients; colors are relative to the strongest word of each text.",
}


def write_report(path: Path, metrics: Mapping[str, Any], plots: Mapping[str, str]) -> None:
    """Write the report as one HTML file, whole or not at all.

    Args:
        path: of the file.
        metrics: the content of `metrics.json`.
        plots: name to SVG element, from `plots.write_plots`; the only trusted markup.

    Raises:
        OSError: the folder is missing or not writable.
    """
    replace_file(path, render_report(metrics, plots).encode("utf-8", "replace"))


def render_report(metrics: Mapping[str, Any], plots: Mapping[str, str]) -> str:
    """Return the report as HTML."""
    from markupsafe import Markup

    num_labels = len(metrics["labels"])
    missing = {
        name
        for name, key in (("label-issues", "label_issues"), ("learning", "training"))
        if metrics[key] is None
    }
    return render_page(
        "report.html.j2",
        metrics,
        plots={name: Markup(svg) for name, svg in plots.items()},
        plot_texts=_plot_texts(metrics),
        sections=[(name, title) for name, title in SECTIONS.items() if name not in missing],
        baseline_names={key: name[0].upper() + name[1:] for key, name in BASELINE_NAMES.items()},
        explained=EXPLAINED.get(metrics["explained_by"], ""),
        num_labels=num_labels,
        numbered=num_labels > BESIDE_UP_TO or max(map(len, metrics["labels"])) > NAMED_UP_TO,
        beside=num_labels <= BESIDE_UP_TO,
        full_matrix=num_labels <= FULL_MATRIX_UP_TO,
        shares=num_labels <= SHARES_UP_TO,
        asks_precision=any("precision_at_least" in t for t in metrics["thresholds"].values()),
    )


def write_comparison(path: Path, content: Mapping[str, Any], plots: Mapping[str, str]) -> None:
    """Write the report of several runs side by side.

    Args:
        path: of the file.
        content: of `comparison.json`.
        plots: name to SVG element, from `plots.write_comparison_plots`.

    Raises:
        OSError: the folder is missing or not writable.
    """
    from markupsafe import Markup

    names = list(content["runs"])
    page = render_page(
        "compare.html.j2",
        content,
        plots={name: Markup(svg) for name, svg in plots.items()},
        plot_texts={
            "coverage": "Accuracy of each run's answers by the share of texts that is answered.",
            **{
                f"confusion_matrix_{number}": f"Confusion matrix of {name}."
                for number, name in enumerate(names, start=1)
            },
        },
        matrices=[(name, f"confusion_matrix_{n}") for n, name in enumerate(names, start=1)],
        sections=list(COMPARED.items()),
        names=names,
        num_coverages=len(next(iter(content["runs"].values()))["at_coverage"]),
        num_labels=len(content["labels"]),
    )
    replace_file(path, page.encode("utf-8", "replace"))


def render_page(template: str, metrics: Mapping[str, Any], **parts: Any) -> str:  # noqa: ANN401
    """Return a page of numbers as HTML.

    Args:
        template: its name in this folder.
        metrics: whose numbers are shown, as `m`.
        parts: further values of the template.
    """
    import jinja2
    from markupsafe import Markup

    style = _resource("style.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment.get_template(template).render(
        m=At(metrics), style=Markup(style), style_hash=Markup(f"sha256-{digest}"), **parts
    )


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _plot_texts(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return what each plot shows in one sentence, for those who cannot see it."""
    test, calibration = metrics["test"], metrics["calibration"]
    texts = {
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
        "roc": "ROC curve of each label against the rest; the table above holds the areas.",
        "precision_recall": "Precision-recall curve of each label against the rest; the table "
        "above holds the areas.",
        "thresholds": "Precision, recall and F1 of each label by threshold; the table below holds "
        "the thresholds chosen.",
    }
    if metrics["training"] is not None:
        history = metrics["training"]["history"]
        for name, title in (("loss", "Loss"), ("accuracy", "Accuracy")):
            last = history[-1]
            texts[name] = (
                f"{title} over {len(history)} epochs; at the end {last[f'train_{name}']:.4g} in "
                f"training and {last[f'validation_{name}']:.4g} in validation."
            )
    return texts
