"""The plots and the page: complete, self-contained, escaped, and the same every time."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from lasttoken.evaluation.baseline import TFIDF, BaselineResult, majority_baseline
from lasttoken.evaluation.metrics import ClassificationMetrics, classification_metrics
from lasttoken.evaluation.report.page import (
    Mistake,
    ReportContent,
    commonest_mistakes,
    render_report,
    write_report,
)
from lasttoken.evaluation.report.plots import plot_labels, write_plots

HISTORY = [
    {
        "epoch": epoch,
        "step": 10 * epoch,
        "train_loss": 0.7 / epoch,
        "train_accuracy": 0.5 + 0.1 * epoch,
        "validation_loss": 0.6 / epoch,
        "validation_accuracy": 0.55 + 0.1 * epoch,
        "validation_macro_f1": 0.54 + 0.1 * epoch,
        "learning_rate": 5e-5,
        "seconds": 12.5,
    }
    for epoch in (1, 2)
]
EVIL = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def _every_warning_is_an_error() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def two_mistakes(labels: tuple[str, ...] = ("no", "yes")) -> ClassificationMetrics:
    """Return ten examples of the first two labels: matrix ((4, 1), (2, 3), ...)."""
    label_ids = np.array([0] * 5 + [1] * 5)
    predicted_ids = np.array([0, 0, 0, 0, 1, 0, 0, 1, 1, 1])
    probs = 0.9 * np.eye(len(labels))[predicted_ids] + 0.1 / len(labels)
    return classification_metrics(label_ids, probs, labels)


def content(labels: tuple[str, ...] = ("no", "yes"), **more: Any) -> ReportContent:
    """Return a small page's content."""
    metrics = two_mistakes(labels)
    ids = np.array([0] * 5 + [1] * 5)
    baselines = [
        BaselineResult(TFIDF, None, {"C": 3.0}, 0.25, "no training text holds a word"),
        majority_baseline(ids, ids, labels),
    ]
    filled: dict[str, Any] = {
        "title": "snow with gpt2",
        "verdict": "Accuracy 0.700.",
        "labels": labels,
        "test": metrics,
        "validation": metrics,
        "baselines": baselines,
        "history": HISTORY,
        "best_epoch": 2,
        "facts": {"Data": {"source": "snow.csv"}},
        "notes": ["3 texts were cut."],
    }
    return ReportContent(**{**filled, **more})


class Outline(HTMLParser):
    """Collects tags and checks that they nest."""

    VOID = frozenset(("meta", "link", "br"))

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_three_plots_are_written_as_png_and_svg(tmp_path: Path) -> None:
    svgs = write_plots(tmp_path / "plots", HISTORY, two_mistakes(), best_epoch=2)
    assert list(svgs) == ["loss", "accuracy", "confusion_matrix"]
    for name, svg in svgs.items():
        png = (tmp_path / "plots" / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        ElementTree.fromstring((tmp_path / "plots" / f"{name}.svg").read_text(encoding="utf-8"))
        assert svg.startswith("<svg")
        assert svg.endswith("</svg>")
    assert "kept epoch" in svgs["loss"]
    assert "kept epoch" in svgs["accuracy"]


def test_without_history_only_the_confusion_matrix_is_drawn(tmp_path: Path) -> None:
    assert list(write_plots(tmp_path, [], two_mistakes(), None)) == ["confusion_matrix"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "confusion_matrix.png",
        "confusion_matrix.svg",
    ]


def test_the_same_numbers_give_the_same_bytes_and_leave_no_setting_behind(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    for name in ("one", "two"):
        write_plots(tmp_path / name, HISTORY[:1], two_mistakes(), 1)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert dict(matplotlib.rcParams) == before


def test_a_loss_that_is_nan_is_a_gap_and_no_error(tmp_path: Path) -> None:
    broken = [{**HISTORY[0], "validation_loss": float("nan")}]
    plots = write_plots(tmp_path, broken, two_mistakes(), None)
    page = render_report(content(history=broken, best_epoch=None, plots=plots))
    assert "<td>n/a</td>" in page


def test_plotting_never_imports_pyplot() -> None:
    code = (
        "import sys, tempfile, pathlib, numpy as np\n"
        "from lasttoken.evaluation.metrics import classification_metrics\n"
        "from lasttoken.evaluation.report.plots import write_plots\n"
        "assert 'matplotlib' not in sys.modules and 'sklearn' not in sys.modules\n"
        "metrics = classification_metrics(np.array([0, 1]), np.eye(2), ('no', 'yes'))\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    write_plots(pathlib.Path(folder), [], metrics, None)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_labels_fit_the_plot_and_those_its_font_lacks_are_numbered() -> None:
    assert plot_labels(["short", "two\nlines", "體育", " ", "x" * 30]) == [
        "short",
        "two lines",
        "#3",
        "#4",
        "x" * 21 + "…",
    ]


@pytest.mark.parametrize("size", [2, 13, 51])
def test_matrices_of_few_and_many_labels_are_drawn(tmp_path: Path, size: int) -> None:
    labels = tuple(f"label {number}" for number in range(size))
    svg = write_plots(tmp_path, [], two_mistakes(labels), None)["confusion_matrix"]
    assert "label 0" in svg
    # The color bar says 80% once; a cell says it (4 of 5) only while there is room.
    assert svg.count(">80%<") == (2 if size == 2 else 1)


def test_a_formula_in_a_label_stays_text(tmp_path: Path) -> None:
    labels = ("$x_1$", r"$\nonsense{$")
    svg = write_plots(tmp_path, [], two_mistakes(labels), None)["confusion_matrix"]
    assert "$x_1$" in svg
    assert r"$\nonsense{$" in svg


def test_the_page_is_one_file_without_script_link_or_network(tmp_path: Path) -> None:
    plots = write_plots(tmp_path, HISTORY, two_mistakes(), 2)
    write_report(tmp_path / "report.html", content(plots=plots))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|<script|<a ", page)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    outline = Outline(page)
    assert outline.open == []
    for tag, attributes in outline.tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), tag


def test_ids_are_unique_and_every_reference_has_its_id(tmp_path: Path) -> None:
    page = render_report(content(plots=write_plots(tmp_path, HISTORY, two_mistakes(), 2)))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:url\(|href=")#([^)"]+)', page)
    assert references
    assert set(references) <= set(ids)


def test_the_verdict_stands_first_and_every_table_is_named() -> None:
    page = render_report(content())
    assert page.index("Accuracy 0.700.") < page.index("3 texts were cut.") < page.index("<table")
    tags = [tag for tag, _ in Outline(page).tags]
    assert tags.count("table") == tags.count("caption") == 5
    assert all("scope" in attributes for tag, attributes in Outline(page).tags if tag == "th")


def test_the_page_shows_the_numbers() -> None:
    page = re.sub(r"\s+", " ", render_report(content()))
    assert (
        '<th scope="row">This model</th><td>0.700</td><td>0.697</td><td>0.697</td>' in page
    )  # F1 of no: 8/11, of yes: 6/9; mean 0.697
    assert "no score: no training text holds a word" in page
    assert (
        '<th scope="row">Majority: always the commonest training label</th>'
        "<td>0.500</td><td>0.333</td><td>0.333</td><td>0.693</td>" in page
    )
    assert '<td class="diagonal">4</td><td>1</td>' in page
    assert '<td>2</td><td class="diagonal">3</td>' in page
    assert '<th scope="row">yes</th><td>0.750</td><td>0.600</td><td>0.667</td><td>5</td>' in page
    assert '<tr class="here"><th scope="row">2</th><td>0.350</td><td>0.300</td>' in page
    assert '<th scope="row">source</th><td>snow.csv</td>' in page


def test_plots_carry_a_description_for_those_who_cannot_see_them(tmp_path: Path) -> None:
    page = render_report(content(plots=write_plots(tmp_path, HISTORY, two_mistakes(), 2)))
    described = [
        attributes["aria-label"]
        for _, attributes in Outline(page).tags
        if attributes.get("role") == "img"
    ]
    assert described == [
        "Loss over 2 epochs; at the end 0.35 in training and 0.3 in validation.",
        "Accuracy over 2 epochs; at the end 0.7 in training and 0.75 in validation.",
        "Confusion matrix of 2 labels on 10 test examples; 7 lie on the diagonal.",
    ]


def test_a_script_in_a_label_or_any_text_is_shown_and_never_run(tmp_path: Path) -> None:
    labels = (EVIL, f'"><img src=x onerror=alert(2)>{EVIL}', "--><b>")
    evil = content(
        labels,
        title=EVIL,
        verdict=EVIL,
        notes=[EVIL],
        facts={EVIL: {EVIL: EVIL}},
        baselines=[BaselineResult(EVIL, None, {EVIL: EVIL}, 1.0, EVIL)],
        plots=write_plots(tmp_path, HISTORY, two_mistakes(labels), 1),
    )
    page = render_report(evil)
    tags = {tag for tag, _ in Outline(page).tags}
    assert tags.isdisjoint({"script", "img", "b"})
    assert not any("onerror" in attributes for _, attributes in Outline(page).tags)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;script&gt;" in evil.plots["confusion_matrix"]


def test_an_evaluation_without_history_has_no_learning_curves(tmp_path: Path) -> None:
    plots = write_plots(tmp_path, [], two_mistakes(), None)
    page = render_report(content(history=[], best_epoch=None, validation=None, plots=plots))
    assert "Learning curves" not in page
    assert "validation examples" not in page
    assert "Which labels are confused" in page


def test_many_labels_get_the_commonest_mistakes_instead_of_a_huge_table() -> None:
    page = render_report(content(tuple(f"label {number}" for number in range(31))))
    assert "Test examples by true label" not in page
    assert "The commonest mistakes." in page


def test_mistakes_are_ordered_by_count() -> None:
    assert commonest_mistakes(two_mistakes()) == [
        Mistake("yes", "no", 2, 0.4),
        Mistake("no", "yes", 1, 0.2),
    ]
