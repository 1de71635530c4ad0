"""Pages, plots and cards of ordinal labels, label sets and numbers: as those of single labels."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answered import ordinal_numbers, set_numbers, value_numbers
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from pages import Outline, check_numbers

from lasttoken.evaluation.compare import Answers, comparison_dict
from lasttoken.evaluation.report.card import model_card
from lasttoken.evaluation.report.layouts import LAYOUTS
from lasttoken.evaluation.report.page import render_report, write_comparison
from lasttoken.evaluation.report.plots import write_comparison_plots, write_plots

EVIL = "<script>alert(1)</script>"
KINDS = {"ordinal": ordinal_numbers, "multi-label": set_numbers, "regression": value_numbers}
PLOTS = {
    "ordinal": ["loss", "accuracy", "confusion_matrix", "reliability", "coverage", "roc",
                "precision_recall", "thresholds"],
    "multi-label": ["loss", "accuracy", "set_sizes", "reliability", "roc", "precision_recall",
                    "thresholds"],
    "regression": ["loss", "predicted"],
}  # fmt: skip
OURS = (
    "95 % intervals", "95 % confidence", "--target-accuracy 0.95", "at 5 % over all groups",
    "a probability of 0.8, 80 % should be right", "a probability of 0.8, 80 % of the texts",
    "0 to 1", "F1",
)  # fmt: skip

every_kind = pytest.mark.parametrize(("task", "make"), KINDS.items())


@pytest.fixture(autouse=True)
def _every_warning_is_an_error() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@every_kind
def test_every_number_of_the_page_is_one_of_the_file(task: str, make: Callable[..., Any]) -> None:
    more = {"precision_at_least": 0.2} if task == "multi-label" else {}
    metrics = json.loads(json.dumps(make(**more), allow_nan=False))
    assert metrics["task"] == task
    page = re.sub(r'<td class="number">\d+</td>', "", render_report(metrics, {}))
    assert check_numbers(page, metrics, OURS) > 150


@every_kind
def test_the_page_is_whole_and_every_reference_has_its_id(
    tmp_path: Path, task: str, make: Callable[..., Any]
) -> None:
    metrics = make()
    plots = write_plots(tmp_path, metrics)
    assert list(plots) == PLOTS[task]
    page = render_report(metrics, plots)
    outline = Outline(page)
    assert outline.open == []
    assert not re.search(r"https?:|@import|<script| style=", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'(?:url\(|href=")#([^)"]+)', page))
    assert set(LAYOUTS[task].sections) - {"label-issues"} <= references <= set(ids)
    tags = [tag for tag, _ in outline.tags]
    assert tags.count("table") == tags.count("caption") >= 7
    assert all("scope" in attributes for tag, attributes in outline.tags if tag == "th")
    described = [a["aria-label"] for _, a in outline.tags if a.get("role") == "img"]
    assert len(described) == len(plots)
    assert page.index(metrics["verdict"][:60]) < page.index("3 texts were cut.")
    without = render_report({**metrics, "training": None}, {})
    assert "How it learned" not in without


@every_kind
def test_one_example_and_no_baseline_are_enough(
    tmp_path: Path, task: str, make: Callable[..., Any]
) -> None:
    if task == "ordinal":
        return  # as single labels
    metrics = json.loads(json.dumps(make(count=1, baselines=[]), allow_nan=False))
    assert check_numbers(
        re.sub(r'<td class="number">\d+</td>', "", render_report(metrics, {})), metrics, OURS
    )
    write_plots(tmp_path, metrics)
    model_card(metrics, {}, name="one")


def test_a_script_in_a_label_a_text_or_a_name_is_shown_and_never_run(tmp_path: Path) -> None:
    sets = set_numbers((EVIL, "--><b>", "$x$"))
    values = value_numbers(EVIL)
    values["errors"][0]["text"] = EVIL
    for number, evil in enumerate((sets, values)):
        page = render_report(evil, write_plots(tmp_path / str(number), evil))
        assert {tag for tag, _ in Outline(page).tags}.isdisjoint({"script", "b"})
        card = model_card(evil, {}, name="evil")
        assert "<script>" not in MarkdownIt("commonmark").render(card)


def test_the_page_of_sets_names_the_wrong_decision() -> None:
    metrics = set_numbers()
    first = metrics["errors"][0]
    page = re.sub(r"</?(?:data|span|bdi|strong)[^>]*>", "", render_report(metrics, {}))
    taken = ", taken for ".join(
        ", ".join(first[key]) or "no label" for key in ("labels", "predicted")
    )
    decision = first["decision"]
    how = "given" if decision["is_given"] else "missed"
    assert f"{taken}: {decision['label']} {how} with probability" in page
    truths = [
        each["decision"]["probability"]
        if not each["decision"]["is_given"]
        else 1 - each["decision"]["probability"]
        for each in metrics["errors"]
    ]
    assert truths == sorted(truths)


def test_the_largest_errors_come_first() -> None:
    sizes = [abs(each["error"]) for each in value_numbers()["errors"]]
    assert sizes == sorted(sizes, reverse=True)
    assert value_numbers()["num_errors"] == 60


# ---- the model card ----


@every_kind
def test_the_card_holds_the_measured_scores(task: str, make: Callable[..., Any]) -> None:
    metrics = json.loads(json.dumps(make()))
    card = ModelCard(model_card(metrics, {}, name="run"))
    data = card.data.to_dict()
    results = data["model-index"][0]["results"][0]["metrics"]
    first = {"ordinal": "accuracy", "multi-label": "macro_f1", "regression": "mae"}[task]
    assert results[0]["value"] == metrics["test"][first]
    text = str(card)
    shown = {
        "ordinal": ["one of 3 labels, from the lowest to the highest: low, mid, high",
                    "quadratic weighted kappa"],
        "multi-label": ["any number of 3 labels, or none: anger, joy, love", "top_k=None",
                        "Taken for another label most"],
        "regression": ["It gives a text a number: score.", 'function_to_apply="none"',
                       "plus and minus", "error of this model minus its"],
    }  # fmt: skip
    for each in shown[task]:
        assert each in text, each
    assert "text 1" not in text  # no text of the data


# ---- side by side ----


def answers(task: str, rng: np.random.Generator) -> tuple[Any, dict[str, Answers]]:
    """Return the truth and what three runs said."""
    if task == "regression":
        targets = rng.normal(size=60)
        noisy = [targets[:, None] + rng.normal(size=(60, 1)) * scale for scale in (0.1, 0.5, 0.5)]
        return targets, dict(zip(("a/1", "b~2", "c"), map(Answers, noisy), strict=True))
    probs = [rng.dirichlet(np.ones(3), size=60) for _ in range(3)]
    if task == "multi-label":
        targets = rng.random((60, 3)) < 0.4
        made = [Answers(each, np.array([0.3, 0.4, 0.5])) for each in probs]
        return targets, dict(zip(("a/1", "b~2", "c"), made, strict=True))
    return rng.integers(3, size=60), dict(
        zip(("a/1", "b~2", "c"), map(Answers, probs), strict=True)
    )


@every_kind
def test_every_number_of_a_comparison_is_one_of_the_file(
    tmp_path: Path, task: str, make: Callable[..., Any]
) -> None:
    targets, said = answers(task, np.random.default_rng(1))
    labels = ("score",) if task == "regression" else ("no", "0.5", "yes")
    cost = {"training_seconds": 1234.5, "peak_memory_bytes": 3 * 2**30, "model_bytes": 5 * 2**20,
            "texts_per_second": None}  # fmt: skip
    content = {
        **comparison_dict(targets, said, labels, task=task, seed=1),
        "title": "a/1 and b~2 and c",
        "cost": dict.fromkeys(said, cost),
        "differing_settings": {},
        "notes": [],
    }
    content = json.loads(json.dumps(content, allow_nan=False))
    plots = write_comparison_plots(tmp_path / "plots", content)
    write_comparison(tmp_path / "report.html", content, {})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert check_numbers(page, content, ("95 % intervals", "in 95 of 100 cases", "F1")) > 60
    write_comparison(tmp_path / "report.html", content, plots)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    references = set(re.findall(r'href="#([a-z_]+)"', page))
    assert references <= set(re.findall(r'\bid="([^"]+)"', page))


def test_the_nearer_of_three_runs_is_named_by_its_smaller_error() -> None:
    targets, said = answers("regression", np.random.default_rng(1))
    found = comparison_dict(targets, said, ("score",), task="regression", seed=1)
    assert [pair["better"] for pair in found["pairs"]] == ["a/1", "a/1", None]
    assert found["pairs"][0]["mae"] < 0
    assert found["verdict"].startswith("a/1 is better than every other on the same 60 test exa")
    assert re.search(r"\+0\.\d+ \(0\.\d+ to 0\.\d+\) nearer than b~2", found["verdict"])


@pytest.mark.parametrize("task", ["multi-label", "ordinal"])
def test_equal_answers_are_equal_in_every_score(task: str) -> None:
    targets, said = answers(task, np.random.default_rng(2))
    twice = {"one": said["c"], "two": said["c"]}
    found = comparison_dict(targets, twice, ("a", "b", "c"), task=task, seed=1)
    assert found["runs"]["one"] == found["runs"]["two"]
    assert found["pairs"][0]["better"] is None
