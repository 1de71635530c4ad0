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
from lasttoken.evaluation.report.compared import COMPARED
from lasttoken.evaluation.report.layouts import LAYOUTS, plot_texts
from lasttoken.evaluation.report.numbers import FILTERS, At


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

    layout = LAYOUTS[metrics["task"]]
    missing = {
        name
        for name, key in (("label-issues", "label_issues"), ("learning", "training"))
        if metrics[key] is None
    }
    return render_page(
        layout.template,
        metrics,
        plots={name: Markup(svg) for name, svg in plots.items()},
        plot_texts=plot_texts(metrics),
        sections=[(name, title) for name, title in layout.sections.items() if name not in missing],
        baseline_names={key: name[0].upper() + name[1:] for key, name in BASELINE_NAMES.items()},
        explained=layout.explained.get(metrics["explained_by"], ""),
        **layout.parts(metrics),
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

    names, layout = list(content["runs"]), COMPARED[content["task"]]
    drawn = [(name, f"{layout.drawn}_{n}") for n, name in enumerate(names, start=1)]
    page = render_page(
        "compare.html.j2",
        content,
        layout=layout,
        plots={name: Markup(svg) for name, svg in plots.items()},
        plot_texts={
            "coverage": "Accuracy of each run's answers by the share of texts that is answered.",
            **{plot: f"{layout.drawn_title} of {name}." for name, plot in drawn},
        },
        drawn=drawn,
        sections=list(layout.sections.items()),
        names=names,
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
