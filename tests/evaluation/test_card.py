"""The model card: valid metadata, the measured numbers, escaped, and nothing private."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from answered import failed_baseline, numbers
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from conftest import REVIEWS
from lasttoken.evaluation.caveats import caveats
from lasttoken.evaluation.report.card import model_card, write_model_card
from lasttoken.evaluation.report.markdown import text

EVIL = [
    "<script>alert(1)</script>",
    "a|b",
    "`rm -rf`",
    "two\nlines",
    "---",
    "- item",
    "1. item",
    "# title",
    "![x](https://evil.example/x.png)",
    "see www.evil.example or a@evil.example",
    "$x$ &lt; \\| *bold* _it_ ~~no~~",
    '\'; quote: "yes"',
    "\u202egnp.exe",
]


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def metrics(finished_run: Path) -> dict[str, Any]:
    return read(finished_run / "metrics.json")


@pytest.fixture(scope="module")
def record(finished_run: Path) -> dict[str, Any]:
    return read(finished_run / "run.json")


def made_up(labels: list[str], matrix: list[list[int]], **more: Any) -> dict[str, Any]:
    """Return metrics as of a run with these labels and mistakes."""
    cells = [
        (true, predicted)
        for true, row in enumerate(matrix)
        for predicted, count in enumerate(row)
        for _ in range(count)
    ]
    answers = [true for true, _ in cells], [predicted for _, predicted in cells]
    return dict(json.loads(json.dumps(numbers(tuple(labels), answers, **more))))


THREE = made_up(["ham", "spam", "eggs"], [[95, 4, 1], [9, 91, 0], [2, 1, 5]])


def limits_of(card: str) -> str:
    return card.partition("## Limits\n\n")[2].partition("\n\n## ")[0]


def without_escapes(markdown: str) -> str:
    return re.sub(r"\\(?=[^\w\s])", "", markdown)


# ---- metadata ----


def test_the_metadata_are_read_back_by_the_hub_client_with_the_measured_scores(
    metrics: dict[str, Any], record: dict[str, Any], opened_sockets: list[str]
) -> None:
    content = model_card(metrics, record, name="run")
    card = ModelCard(content)
    assert str(card) == content
    data = card.data.to_dict()
    index = data.pop("model-index")
    assert data == {
        "library_name": "transformers",
        "metrics": ["accuracy", "f1"],
        "pipeline_tag": "text-classification",
        "tags": ["text-classification", "lasttoken"],
    }  # neither language nor license, and no base_model of a local path
    assert [entry["name"] for entry in index] == ["run"]
    results = card.data.eval_results
    assert [(each.metric_type, each.metric_value) for each in results] == [
        ("accuracy", metrics["test"]["accuracy"]),
        ("f1", metrics["test"]["macro_f1"]),
    ]
    for each in results:
        assert each.task_type == "text-classification"
        assert (each.dataset_type, each.dataset_name) == ("reviews.csv", "reviews.csv")
        assert each.dataset_split == "test"
        assert each.dataset_args == {"sha256": record["data"]["test"]["fingerprint"]}
    assert results[1].metric_args == {"average": "macro"}
    assert opened_sockets == []


@pytest.mark.parametrize(
    ("place", "base_model"),
    [
        ("gpt2", "gpt2"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("smollm2", None),
        ("/models/gpt2", None),
        (None, None),
    ],
)
def test_a_base_model_is_named_only_if_it_is_a_hub_id(
    record: dict[str, Any], place: str | None, base_model: str | None
) -> None:
    changed = {**record, "model_location": place, "settings": {"model": place or "models/gpt2"}}
    data = ModelCard(model_card(THREE, changed, name="run")).data
    assert data.base_model == base_model


def test_a_data_set_of_the_hub_is_named_and_the_sample_is_not(record: dict[str, Any]) -> None:
    def card_of(place: str) -> ModelCard:
        changed = {**record, "data_location": place, "settings": {"data": place}}
        return ModelCard(model_card(THREE, changed, name="run"))

    card = card_of("cornell/rt_polarity")
    assert card.data.datasets == ["cornell/rt_polarity"]
    assert card.data.eval_results[0].dataset_type == "cornell/rt_polarity"
    card = card_of("movie-reviews")
    assert card.data.datasets is None
    assert card.data.eval_results[0].dataset_name == "movie-reviews"


# ---- content ----


def test_the_card_tells_what_it_is_from_what_was_measured(
    metrics: dict[str, Any], record: dict[str, Any]
) -> None:
    card = without_escapes(model_card(metrics, record, name="run"))
    assert "made of tiny-gpt2, a decoder language model" in card
    assert "trained on 32 labeled examples of reviews.csv." in card
    assert "one of 2 labels: neg, pos." in card
    assert "lasttoken predict MODEL" in card
    assert 'pipeline("text-classification", "MODEL")' in card
    assert "`truncation=True` cuts texts at 32 tokens" in card
    assert metrics["verdict"] in card
    test, baselines = metrics["test"], metrics["baselines"]
    for name, scores in (
        ("this model", test),
        ("TF-IDF + logistic regression", baselines["tfidf_logistic_regression"]),
        ("always answering the commonest label", baselines["majority"]),
    ):
        row = next(line for line in card.splitlines() if line.startswith(f"| {name} |"))
        assert re.sub(r" \([^)]*\)", "", row).startswith(
            f"| {name} | {scores['accuracy']:.3f} | {scores['macro_f1']:.3f} |"
        )
    for label, scores in test["per_label"].items():
        shown = " | ".join(f"{scores[name]:.3f}" for name in ("precision", "recall", "f1"))
        row = next(line for line in card.splitlines() if line.startswith(f"| {label} |"))
        assert re.sub(r" \([^)]*\)", "", row) == f"| {label} | {shown} | {scores['support']} |"
    for name in ("train", "validation", "test"):
        assert record["data"][name]["fingerprint"][:16] in card
    assert "| learning rate | 0.0009 |" in card
    assert "\n| validation | 0.1 |\n" in model_card(metrics, record, name="run")
    assert f"| torch | {record['versions']['torch']} |" in card


def test_the_card_holds_no_text_of_the_data_and_no_path(
    metrics: dict[str, Any], record: dict[str, Any], finished_run: Path, tiny_gpt2: Path
) -> None:
    shown = [{"file": "f", "row": 1, "text": REVIEWS[0][0]}]
    pair = {"true": "neg", "predicted": "pos", "count": 1, "share": 0.5, "examples": shown}
    more = {"confused_pairs": [pair], "errors": shown}
    card = without_escapes(model_card({**metrics, **more}, record, name="run"))
    assert not any(review in card for review, _ in REVIEWS)
    assert str(finished_run.parent) not in card
    assert str(tiny_gpt2.parent) not in card


def test_limits_name_weak_labels_confused_pairs_and_few_examples() -> None:
    card = limits_of(model_card(THREE, {}, name="run"))
    assert card.splitlines()[:3] == [
        "- Weakest labels: eggs (F1 0.714 on 8 test examples); ham (F1 0.922 on 100 test "
        "examples).",
        "- Scores are rough for labels of fewer than 10 test examples: eggs.",
        "- Confused most: spam taken for ham (9 of 100 test examples); ham taken for spam (4 of "
        "100 test examples); eggs taken for ham (2 of 8 test examples).",
    ]
    few = limits_of(model_card(made_up(["a", "b"], [[9, 1], [2, 8]]), {}, name="run"))
    assert "- Weakest label: b (F1 0.842 on 10 test examples).\n" in few
    assert (
        "- Only 20 test examples: the true accuracy may lie anywhere from 0.640 to 0.948.\n" in few
    )
    assert "Scores are rough for labels" not in few


def test_limits_name_a_baseline_that_is_as_good() -> None:
    worse = made_up(["a", "b"], [[9, 1], [9, 1]], baselines=[failed_baseline()])
    assert "cheaper baseline" not in limits_of(model_card(worse, {}, name="run"))
    worse = made_up(["a", "b"], [[9, 1], [9, 1]])
    assert limits_of(model_card(worse, {}, name="run")).splitlines()[0] == (
        "- It is not better than a far cheaper baseline, always answering the commonest label: "
        "accuracy 0.500 against 0.500."
    )


def test_limits_tell_worse_slices_but_never_a_value_of_a_column() -> None:
    measured = copy.deepcopy(THREE)
    worse = {"num_examples": 40, "accuracy": 0.7, "others_accuracy": 0.9, "is_worse": True}
    measured["slices"] = [
        {"by": "length", "value": "9 to 12 tokens", **worse},
        {"by": "length", "value": "1 to 8 tokens", **worse, "is_worse": False},
        {"by": "label", "value": "eggs", **worse},
        {"by": "cut at the longest length", "value": "yes", **worse},
        {"by": "column author", "value": "Jane Doe", **worse},
    ]
    measured["caveats"] = caveats(measured)
    assert "Jane Doe" in str(measured["caveats"])
    card = model_card(measured, {}, name="run")
    limits = limits_of(card)
    for group in ("length is 9 to 12 tokens", "label is eggs", "cut at the longest length is yes"):
        assert (
            f"- Worse than elsewhere where {group}: accuracy 0.700 of 40 examples, 0.900 of the "
            "others.\n"
        ) in limits
    assert "1 to 8 tokens" not in limits
    assert "Jane Doe" not in card
    assert "author" not in card


def test_intervals_and_calibration_are_shown() -> None:
    measured = copy.deepcopy(THREE)
    measured["test"]["intervals"] |= {"accuracy": [0.871, 0.949], "macro_f1": None}
    measured["test"]["per_label"]["eggs"]["intervals"] |= {"recall": None, "f1": [0.2, 0.9]}
    measured["baselines"]["majority"]["difference"] |= {
        "accuracy": 0.118, "accuracy_interval": [-0.05, 0.18]
    }  # fmt: skip
    measured["calibration"] |= {"temperature": 1.337, "after": {"ece": 0.0213}}
    card = model_card(measured, {}, name="run")
    assert "in brackets, 95 % intervals:" in card
    assert "|  | accuracy | macro F1 | weighted F1 | MCC | log loss | accuracy gained by" in card
    # An interval that could not be told is left out.
    macro_f1 = measured["test"]["macro_f1"]
    assert f"\n| this model | 0.918 (0.871 to 0.949) | {macro_f1:.3f} | 0.9" in card
    assert re.search(
        r"\n\| always answering the commonest label \| 0\.481 \| .* \| \+0\.118 "
        r"\(-0\.050 to \+0\.180\) \|\n",
        card,
    )
    assert re.search(r"\| eggs \| [^|]* \| 0\.625 \| 0\.714 \(0\.200 to 0\.900\) \| 8 \|", card)
    assert "Between 5 and 13 of 100 such texts get a wrong label" in card
    assert (
        "by 0.021 on average (expected calibration error on the test examples, with a temperature "
        "of 1.34 that is part of the weights)."
    ) in limits_of(card)


def test_limits_tell_what_is_cut(record: dict[str, Any]) -> None:
    changed = copy.deepcopy(record)
    changed["data"]["test"].update(texts_cut=30, examples=400)
    assert (
        "- What stands behind the first 32 tokens of a text is not read; of the 400 test texts 30 "
        "were cut (7.5%).\n"
    ) in limits_of(model_card(THREE, changed, name="run"))


def test_a_template_and_repaired_unicode_are_told_to_those_who_use_transformers_alone(
    record: dict[str, Any],
) -> None:
    changed = {
        **record,
        "settings": {**record["settings"], "template": "a *b* {text}", "fix_text": True},
    }
    card = model_card(THREE, changed, name="run")
    assert "inside the template “a \\*b\\* {text}”" in card
    assert "`ftfy.fix_text`" in card
    assert "template" not in model_card(THREE, record, name="run")


def test_a_card_can_be_made_of_many_labels_and_without_a_record() -> None:
    labels = [f"label-{n:03}" for n in range(100)]
    matrix = [[int(m == n) + int(m == 0) for m in range(100)] for n in range(100)]
    card = model_card(made_up(labels, matrix), {}, name="run")
    assert "one of 100 labels: label-000, label-001," in card
    assert "label-029 and 70 more." in card
    assert "The 30 labels of the lowest F1, of 100:" in card
    assert card.count("\n| label-") == 30
    assert ModelCard(card).data.eval_results[0].dataset_name == "unnamed"


# ---- escaped ----


def rendered(card: str) -> str:
    body = ModelCard(card).text
    return str(MarkdownIt("gfm-like", {"linkify": False}).render(body))


@pytest.mark.parametrize("evil", EVIL)
def test_what_the_data_named_is_shown_and_means_nothing(record: dict[str, Any], evil: str) -> None:
    from html.parser import HTMLParser

    class Page(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: dict[str, int] = {}
            self.cells: list[str] = []

        def handle_starttag(self, tag: str, attributes: object) -> None:
            self.tags[tag] = self.tags.get(tag, 0) + 1
            if tag in ("td", "h1"):
                self.cells.append("")

        def handle_data(self, data: str) -> None:
            if self.cells:
                self.cells[-1] += data.rstrip("\n") if data.strip() else ""

    def page_of(word: str) -> Page:
        # A neighbor that sorts behind it, so that the order of the rows is the same.
        measured = made_up([word, "b"], [[5, 5], [1, 9]])
        measured["slices"] = [{"by": "label", "value": word, "num_examples": 9, "accuracy": 0.1,
                               "others_accuracy": 0.9, "is_worse": True}]  # fmt: skip
        measured["verdict"] = word
        settings = {"model": word, "data": word, "prompt": word, "text_column": word}
        changed = {**record, "settings": settings}
        del changed["model_location"], changed["data_location"]
        content = model_card(measured, changed, name=word)
        assert len(ModelCard(content).data.eval_results) == 2
        assert ModelCard(content).data.to_dict()["model-index"][0]["name"]
        page = Page()
        page.feed(rendered(content))
        return page

    harmless, harmful = page_of("word"), page_of(evil)
    assert harmful.tags == harmless.tags
    shown = " ".join(evil.split()).replace("\u202e", "\ufffd")
    assert harmful.cells[harmless.cells.index("word")] == shown
    assert [cell for cell in harmful.cells if cell == shown]


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("https://evil.example", "https\\://evil.example"),
        ("WWW.evil.example", "WWW\\.evil.example"),
        ("a@evil.example", "a\\@evil.example"),
    ],
)
def test_bare_addresses_are_broken_before_they_can_become_links(word: str, shown: str) -> None:
    assert text(word) == shown
    assert MarkdownIt().render(f"see {text(word)}") == f"<p>see {word}</p>\n"


def test_long_names_are_cut_and_empty_ones_told() -> None:
    assert text("x" * 81) == "x" * 79 + "…"
    assert text(" \n") == "(empty)"
    assert text("\ud800") == "\ufffd"


# ---- written ----


def test_the_card_is_written_whole_in_utf_8(
    metrics: dict[str, Any], record: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "README.md"
    path.write_text("an older card")
    write_model_card(path, {**metrics, "verdict": "gut, schön \ud800"}, record, name="run")
    assert "gut, schön \ufffd" in path.read_text(encoding="utf-8")
    assert ModelCard.load(path).data.library_name == "transformers"
    assert [entry.name for entry in tmp_path.iterdir()] == ["README.md"]
