"""The plots and the page: complete, self-contained, escaped, and the same every time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from answered import MISTAKES, failed_baseline, numbers
from pages import Outline, check_numbers
from scipy.special import softmax

from lasttoken.evaluation.compare import Answers, comparison_dict
from lasttoken.evaluation.report.figures import plot_labels
from lasttoken.evaluation.report.layouts import BESIDE_UP_TO, SECTIONS
from lasttoken.evaluation.report.page import render_report, write_comparison, write_report
from lasttoken.evaluation.report.plots import write_plots

EVIL = "<script>alert(1)</script>"
PLOTS = [
    "loss", "accuracy", "confusion_matrix", "reliability", "coverage", "roc", "precision_recall",
    "thresholds",
]  # fmt: skip
ISSUES = {
    "noise_rate": 0.08, "noise_rate_interval": [0.06, 0.1], "num_examples": 100, "num_issues": 7,
    "out_of_fold_accuracy": 0.9, "depths": [3],
    "issues": [{
        "split": "train", "file": "snow.csv", "row": 12, "text": "cold", "label": "no",
        "suggested_label": "yes", "label_probability": 0.03, "suggested_probability": 0.97,
    }],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _every_warning_is_an_error() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@cache
def small_plots() -> dict[str, str]:
    """Return the plots of the small evaluation; drawing takes most of the time here."""
    with TemporaryDirectory() as folder:
        return write_plots(Path(folder), numbers())


@pytest.mark.parametrize(
    "labels", [("no", "yes"), ("a/b~c", "0.5", "3 %"), tuple(f"label {n}" for n in range(40))]
)
def test_every_number_of_the_page_is_one_of_the_file(labels: tuple[str, ...]) -> None:
    metrics = numbers(labels, label_issues=ISSUES, precision_at_least=0.2)
    metrics = json.loads(json.dumps(metrics))
    page = render_report(metrics, {})
    # Rows of the table of labels are numbered, so that columns of the matrix can be, too.
    page = re.sub(r'<td class="number">\d+</td>', "", page)
    if len(labels) > BESIDE_UP_TO:
        page = re.sub(r'<th scope="(?:row|col)">#\d+', "<th>", page)
    ours = (
        "95 % intervals", "95 % confidence", "--target-accuracy 0.95", "at 5 % over all groups",
        "a probability of 0.8, 80 % should be right", "0 to 1", "F1",
    )  # fmt: skip
    assert check_numbers(page, metrics, ours) > 200


def test_every_number_of_a_comparison_is_one_of_the_file(tmp_path: Path) -> None:
    label_ids = np.array(MISTAKES[0])
    rng = np.random.default_rng(1)
    answers = {
        name: Answers(softmax(rng.normal(size=(len(label_ids), 2)), axis=1))
        for name in ("a/1", "b~2", "c")
    }
    cost = {"training_seconds": 1234.5, "peak_memory_bytes": 3 * 2**30, "model_bytes": 5 * 2**20,
            "texts_per_second": None}  # fmt: skip
    content = {
        **comparison_dict(label_ids, answers, ("no", "0.5"), task="single-label", seed=1),
        "title": "a/1 and b~2 and c",
        "cost": dict.fromkeys(answers, cost),
        "differing_settings": {"learning_rate": {"a/1": "5e-05", "b~2": "0.0001", "c": "7"}},
        "notes": ["c: 3 of its 13 test examples are not the others' and are left out"],
    }
    content = json.loads(json.dumps(content))
    write_comparison(tmp_path / "report.html", content, {})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert check_numbers(page, content, ("95 % intervals", "in 95 of 100 cases", "F1")) > 100


def test_a_number_that_is_not_the_files_is_found_out() -> None:
    content = {"share": 0.25, "text": "1,234 of 20"}
    shown = '<data value="{}" data-at="/share">{}</data>'
    assert check_numbers(f"<p>{shown.format(0.25, '0.250')} F1 20</p>", content, ("F1",)) == 1
    for wrong in (shown.format(0.25, "0.3"), shown.format(0.5, "0.500"), "2", "234", "0.25", "F12"):
        with pytest.raises(AssertionError):
            check_numbers(f"<p>{wrong}</p>", content, ("F1 of",))


def test_every_plot_is_written_as_png_and_svg(tmp_path: Path) -> None:
    svgs = write_plots(tmp_path / "plots", numbers())
    assert list(svgs) == PLOTS
    for name, svg in svgs.items():
        png = (tmp_path / "plots" / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        ElementTree.fromstring((tmp_path / "plots" / f"{name}.svg").read_text(encoding="utf-8"))
        assert svg.startswith("<svg")
        assert svg.endswith("</svg>")
        assert "style" not in svg
    assert "kept epoch" in svgs["loss"]
    assert "kept epoch" in svgs["accuracy"]


def test_without_history_there_are_no_learning_curves(tmp_path: Path) -> None:
    metrics = numbers(training=None)
    plots = write_plots(tmp_path, metrics)
    assert list(plots) == PLOTS[2:]
    page = render_report(metrics, plots)
    assert "How it learned" not in page
    assert 'id="confusion"' in page


def test_the_same_numbers_give_the_same_bytes_and_leave_no_setting_behind(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    for name in ("one", "two"):
        write_plots(tmp_path / name, numbers())
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert dict(matplotlib.rcParams) == before


def test_plotting_never_imports_pyplot() -> None:
    code = (
        "import sys, tempfile, pathlib\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from answered import numbers\n"
        "from lasttoken.evaluation.report.plots import write_plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    write_plots(pathlib.Path(folder), numbers())\n"
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
def test_plots_of_few_and_many_labels_are_drawn(tmp_path: Path, size: int) -> None:
    labels = tuple(f"label {number}" for number in range(size))
    svg = write_plots(tmp_path, numbers(labels, training=None))["confusion_matrix"]
    assert "label 0" in svg
    # The color bar says 80% once; a cell says it (4 of 5) only while there is room.
    assert svg.count(">80%<") == (2 if size == 2 else 1)


def test_a_formula_or_an_underscore_in_a_label_stays_text(tmp_path: Path) -> None:
    labels = ("$x_1$", r"$\nonsense{$", "_hidden")
    plots = write_plots(tmp_path, numbers(labels, training=None))
    for name in ("confusion_matrix", "roc", "thresholds"):
        assert "$x_1$" in plots[name], name
        assert r"$\nonsense{$" in plots[name], name
    assert "_hidden" in plots["confusion_matrix"]


def test_the_page_is_one_file_without_script_link_or_network(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", numbers(), small_plots())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|<script| style=", page)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:" in page
    outline = Outline(page)
    assert outline.open == []
    for tag, attributes in outline.tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), tag


def test_ids_are_unique_and_every_reference_has_its_id() -> None:
    page = render_report(numbers(label_issues=ISSUES), small_plots())
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:url\(|href=")#([^)"]+)', page)
    assert set(SECTIONS) <= set(references) <= set(ids)


def test_the_verdict_stands_first_and_every_table_is_named() -> None:
    page = render_report(numbers(), {})
    verdict = "Accuracy 0.700 (7 of 10 test examples right"
    assert page.index(verdict) < page.index("3 texts were cut.") < page.index("<table")
    outline = Outline(page)
    tags = [tag for tag, _ in outline.tags]
    assert tags.count("table") == tags.count("caption") == 14
    assert all("scope" in attributes for tag, attributes in outline.tags if tag == "th")


def test_the_page_shows_scores_intervals_and_texts() -> None:
    page = re.sub(r"</?(?:data|span|bdi)[^>]*>", "", render_report(numbers(), {}))
    # F1 of no: 8/11, of yes: 6/9; mean 0.697
    assert re.search(
        r'<th scope="row">This model</th><td>0\.7000\.397 to 0\.892</td><td>0\.697', page
    )
    assert "no score: no training text holds a word" in page
    assert (
        '<th scope="row">Always answering the commonest label</th>'
        "<td>0.500</td><td>0.333</td><td>0.333</td><td>0.000</td><td>0.693</td>" in page
    )
    assert '<td class="diagonal">480 %</td><td>120 %</td>' in page
    assert '<tr class="here"><th scope="row">2</th><td>0.350</td><td>0.300</td>' in page
    assert '<th scope="row">source</th><td>snow.csv</td>' in page
    assert '<mark class="f3">te</mark><mark class="a1">xt 6</mark>' in page
    assert "most: te +0.40, xt 6 -0.05" in page


def test_labels_that_look_wrong_are_listed_with_their_texts() -> None:
    page = re.sub(
        r"</?(?:data|span|bdi)[^>]*>", "", render_report(numbers(label_issues=ISSUES), {})
    )
    assert "7 of 100 labels look wrong" in page
    assert "At most about 8.0 % (6.0 % to 10 %) of all labels are wrong" in page
    assert "The heads agree with 90 % of the labels" in page
    assert "no (0.030), perhaps <strong>yes</strong> (0.970)" in page


def test_plots_carry_a_description_for_those_who_cannot_see_them() -> None:
    outline = Outline(render_report(numbers(), small_plots()))
    described = [a["aria-label"] for _, a in outline.tags if a.get("role") == "img"]
    assert len(described) == len(PLOTS)
    assert "Loss over 2 epochs; at the end 0.35 in training and 0.3 in validation." in described
    assert "Confusion matrix of 2 labels on 10 test examples; 7 lie on the diagonal." in described


def test_a_script_in_a_label_or_any_text_is_shown_and_never_run(tmp_path: Path) -> None:
    labels = (EVIL, f'"><img src=x onerror=alert(2)>{EVIL}', "--><b>")
    evil = numbers(
        labels,
        (MISTAKES[0], [2, *MISTAKES[1][1:]]),
        text=EVIL,
        baselines=[failed_baseline(reason=EVIL)],
        title=EVIL,
        verdict=EVIL,
        notes=[EVIL],
        run={EVIL: {EVIL: EVIL}},
        label_issues={**ISSUES, "issues": [dict.fromkeys(ISSUES["issues"][0], EVIL) | {  # type: ignore[index]
            "row": 1, "label_probability": 0.1, "suggested_probability": 0.9}]},
    )  # fmt: skip
    evil["verdict"] = EVIL
    plots = write_plots(tmp_path, evil)
    page = render_report(evil, plots)
    tags = {tag for tag, _ in Outline(page).tags}
    assert tags.isdisjoint({"script", "img", "b"})
    assert not any("onerror" in attributes for _, attributes in Outline(page).tags)
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 20
    assert "&lt;script&gt;" in plots["confusion_matrix"]


def test_half_a_surrogate_pair_in_a_text_does_not_keep_the_page_from_being_written(
    tmp_path: Path,
) -> None:
    write_report(tmp_path / "report.html", numbers(notes=["\ud800"]), {})
    assert "?" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_many_labels_get_the_commonest_mistakes_instead_of_a_huge_table() -> None:
    page = render_report(numbers(tuple(f"label {number}" for number in range(31))), {})
    assert "Test examples by true label" not in page
    assert "The commonest mistakes." in page
