"""Pairs of texts and long texts from end to end: commands, estimator, saved folder, report."""

from __future__ import annotations

import csv
import io
import json
import random
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import pipeline

from conftest import Command, check_refused, hash_folder
from families import save_decoder
from lasttoken import TextClassifier
from lasttoken.data.examples import Example, copy_key, examples_from_python
from lasttoken.data.splits import fingerprint, set_aside
from lasttoken.errors import ConfigError, DatasetError
from lasttoken.evaluation.windows import deciding_windows, read_windows
from lasttoken.events import Event, Note, ignore

FAST = {"num_epochs": 1, "precision": "fp32"}


# Windows


def ends_decide(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts of 60 to 80 random letters; the word behind them alone tells the label."""
    chance = random.Random(seed)
    texts, labels = [], []
    for number in range(count):
        label = ("good", "evil")[number % 2]
        filler = "".join(chance.choices(string.ascii_lowercase + " ", k=chance.randint(60, 80)))
        texts.append(f"{filler} {label}")
        labels.append(label)
    return texts, labels


@pytest.mark.parametrize(
    ("training", "least"),
    [
        ({"trainable": "probe"}, 0.8),  # on frozen states of random blocks
        ({"num_epochs": 3, "learning_rate": 3e-3, "batch_size": 8}, 0.95),
    ],
    ids=str,
)
def test_windows_learn_what_the_end_decides_and_cutting_there_does_not(
    tmp_path: Path, training: dict[str, Any], least: float
) -> None:
    decoder = str(save_decoder(tmp_path / "decoder"))
    texts, labels = ends_decide(240, 1)
    others, true = ends_decide(100, 2)
    accuracy = {}
    for long in ("cut-end", "windows", "cut-start"):
        classifier = TextClassifier(decoder, **{**FAST, **training}, max_length=40, long=long)
        classifier.fit(texts, labels)
        accuracy[long] = (classifier.predict(others) == true).mean()
    assert accuracy["cut-end"] < 0.65
    assert min(accuracy["windows"], accuracy["cut-start"]) > least


@pytest.mark.parametrize(
    "training",
    [
        {"trainable": "last-1", "depth": 1},
        {"trainable": "probe", "depth": "auto"},
        {"trainable": "lora", "learning_rate": 1e-3},
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_long_text_gets_the_same_bits_alone_in_any_batch_and_from_the_saved_folder(
    tmp_path: Path, family: str, training: dict[str, Any]
) -> None:
    decoder = str(save_decoder(tmp_path / "decoder", family))
    texts, labels = ends_decide(40, 1)
    texts = [*texts[:30], *(text[-n:] for n, text in enumerate(texts[30:], start=4))]
    classifier = TextClassifier(
        decoder, **{**FAST, **training}, max_length=40, long="windows",
        template="Say: {text}, or?", window_overlap=2,
    )  # fmt: skip
    classifier.fit(texts, labels)
    together = classifier.predict_proba(texts)
    for index in (0, 7, 33, 39):
        assert np.array_equal(classifier.predict_proba([texts[index]])[0], together[index])
        few = [texts[index], *texts[5:9], texts[index]]
        assert np.array_equal(classifier.predict_proba(few)[[0, -1]], together[[index, index]])
    classifier.save_pretrained(tmp_path / "model")
    again = TextClassifier.from_pretrained(tmp_path / "model", precision="fp32")
    assert (again.long, again.window_overlap, again.max_length) == ("windows", 2, 40)
    assert np.array_equal(again.predict_proba(texts), together)


def test_a_mean_of_logits_stays_one_under_temperature(tmp_path: Path) -> None:
    """The temperature is folded into the head, through which each window's logits pass."""
    decoder = str(save_decoder(tmp_path / "decoder"))
    texts, labels = ends_decide(60, 1)
    classifier = TextClassifier(decoder, trainable="probe", precision="fp32", max_length=24,
                                long="windows")  # fmt: skip
    classifier.fit(texts, labels)
    assert classifier.loaded_.record.temperature != 1.0
    tokens = classifier.tokenize(texts[:1])
    logits = classifier.predict_logits(tokens)
    parts = [tokens.token_ids[start:stop] for start, stop in tokens.stretches(0)]
    decoded = [classifier.loaded_.tokenizer.decode(part) for part in parts]
    alone = classifier.predict_logits(classifier.tokenize(decoded))
    assert np.allclose(alone.mean(axis=0), logits[0], atol=1e-5)


# Pairs


def same_or_other(count: int) -> list[dict[str, str]]:
    words = ("red", "blue", "green", "grey")
    return [
        {"q1": f"is it {words[n % 4]}? {n}", "q2": f"it is {words[(n // 4 + n) % 4]}, {n}",
         "label": "same" if (n // 4) % 4 == 0 else "other"}
        for n in range(count)
    ]  # fmt: skip


def write_pairs(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


COLUMNS = ("--text-column", "q1", "--text-pair-column", "q2")
QUICK = ("--num-epochs", "1", "--max-length", "48", "--precision", "fp32")


def test_pairs_go_through_every_command(
    lasttoken: Command, tiny_gpt2: Path, tmp_path: Path, without_plots: None
) -> None:
    data = write_pairs(tmp_path / "pairs.csv", same_or_other(64))
    run = tmp_path / "run"
    outcome = lasttoken("train", data, "--model", tiny_gpt2, "--output-dir", run, *COLUMNS, *QUICK)
    assert outcome.code == 0, outcome.err
    assert "pairs: a line break stands between the two: 1 tokens beside those of a text" in (
        outcome.err
    )
    record = json.loads((run / "run.json").read_text())
    assert record["resolved"]["text_pair_column"] == "q2"
    assert record["resolved"]["pair_separator"] == "\n"
    assert '"text_pair": "its pair"' in (run / "model" / "README.md").read_text()
    errors = json.loads((run / "metrics.json").read_text())["errors"]
    assert errors
    assert all("".join(word for word, _ in error["words"]) == error["text"] for error in errors)
    assert all("\n" in error["text"] for error in errors)

    predicted = lasttoken("predict", run, data, "--precision", "fp32")
    rows = list(csv.DictReader(io.StringIO(predicted.out)))
    assert [row["q2"] for row in rows] == [row["q2"] for row in same_or_other(64)]
    plain = pipeline("text-classification", str(run / "model"), device="cpu", top_k=None)
    classifier = TextClassifier.from_pretrained(run, precision="fp32")
    pairs = [(row["q1"], row["q2"]) for row in rows]
    probs = classifier.predict_proba(pairs)
    answers = plain([{"text": a, "text_pair": b} for a, b in pairs], truncation=True)
    for row, own, theirs in zip(rows, probs, answers, strict=True):
        scores = {entry["label"]: entry["score"] for entry in theirs}
        for label, probability in zip(classifier.classes_, own, strict=True):
            assert float(row[f"probability_{label}"]) == pytest.approx(probability, abs=1e-6)
            assert scores[label] == pytest.approx(probability, abs=1e-5)
    swapped = classifier.predict_proba([(b, a) for a, b in pairs])
    assert np.abs(swapped - probs).max() > 1e-3

    assert lasttoken("evaluate", run, data, "--explain", "none").code == 0
    assert lasttoken("check", data, *COLUMNS).code in (0, 1)
    before = hash_folder(run)
    lines = tmp_path / "lines.txt"
    lines.write_text("one text\n")
    check_refused(
        lasttoken("predict", run, lines),
        found=f"{lines}: no column 'q2'", expected="one of 'text'",
        remedy="--text-pair-column NAME", written="",
    )  # fmt: skip
    assert hash_folder(run) == before


@pytest.mark.parametrize(
    ("words", "found", "expected", "remedy"),
    [
        (("--text-column", "q1", "--text-pair-column", "q3"), "{data}: no column 'q3'",
         "one of 'q1', 'q2', 'label'", "--text-pair-column NAME"),
        (("--text-column", "q1", "--text-pair-column", "q1"),
         "{data}: column 'q1' is given as the second text and as the text or the label",
         "three columns out of 'q1', 'q2', 'label'", "--text-pair-column NAME"),
        ((*COLUMNS, "--template", "Q: {text}"),
         "--template 'Q: {text}': no {text_pair}, but the texts come in pairs",
         "a template with {text} and, behind it, {text_pair}", "--template"),
        (("--text-column", "q1", "--template", "{text} {text_pair}"),
         "--template '{text} {text_pair}': has {text_pair}, but the texts come alone",
         "a column of second texts", "--text-pair-column NAME"),
        (("--template", "Q:"), "--template 'Q:': no {text}", "words around {text}", "--template"),
        (("--window-overlap", "3"), "--window-overlap 3 with --long cut-end", "--long windows",
         "--long windows, or leave --window-overlap out"),
        (("--text-column", "q1", "--long", "windows", "--window-overlap", "25"),
         "--window-overlap 25: a window has 48 tokens of the text", "at most half of that, 24",
         "--window-overlap 12, or a larger --max-length"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused_in_three_lines(
    lasttoken: Command, tiny_gpt2: Path, tmp_path: Path, words: tuple[str, ...], found: str,
    expected: str, remedy: str,
) -> None:  # fmt: skip
    data = write_pairs(tmp_path / "pairs.csv", same_or_other(40))
    check_refused(
        lasttoken("train", data, "--model", tiny_gpt2, *QUICK, *words),
        found=found.replace("{data}", str(data)), expected=expected, remedy=remedy,
    )  # fmt: skip


def test_predictions_tell_how_many_windows_a_text_took(
    lasttoken: Command, tiny_gpt2: Path, tmp_path: Path, reviews: Path, without_plots: None
) -> None:
    run = tmp_path / "run"
    windows = ("--long", "windows", "--max-length", "16", "--num-epochs", "1")
    outcome = lasttoken("train", reviews, "--model", tiny_gpt2, "--output-dir", run, *windows)
    assert outcome.code == 0, outcome.err
    assert "are read in windows of 16, at most 2" in outcome.err
    lines = tmp_path / "lines.txt"
    lines.write_text("short\n" + "x" * 16 + "\n" + "x" * 17 + "\n" + "x" * 40 + "\n")
    rows = list(csv.DictReader(io.StringIO(lasttoken("predict", run, lines).out)))
    assert [row["num_windows"] for row in rows] == ["1", "1", "2", "3"]
    assert {row["truncated"] for row in rows} == {"false"}
    assert [row["num_tokens"] for row in rows] == ["5", "16", "17", "40"]
    swapped = tmp_path / "swapped.csv"
    swapped.write_text(reviews.read_text().replace(",pos", ",?").replace(",neg", ",pos")
                       .replace(",?", ",neg"))  # fmt: skip
    assert lasttoken("evaluate", run, swapped).code == 0
    errors = json.loads((run / "evaluations/swapped/metrics.json").read_text())["errors"]
    page = (run / "evaluations/swapped/report.html").read_text()
    assert errors
    for error in errors:
        window = error["window"]
        assert window["text"] == error["text"][window["start"] : window["stop"]]
        assert f">{window['of']}</data> spoke most for it: <bdi>{window['text']}</bdi>" in page


@pytest.mark.parametrize("has_pairs", [False, True])
def test_each_window_is_read_as_if_it_were_alone(tmp_path: Path, has_pairs: bool) -> None:
    decoder = str(save_decoder(tmp_path / "decoder"))
    texts, labels = ends_decide(40, 1)
    given = [(str(n), text) for n, text in enumerate(texts)] if has_pairs else texts
    classifier = TextClassifier(
        decoder,
        **FAST,
        trainable="probe",
        max_length=32,
        long="windows",
        template="Say:{text};{text_pair}!" if has_pairs else None,
    )
    classifier.fit(given, labels)
    short = [str(n) for n in range(3)]
    members = (short, texts[:3]) if has_pairs else (texts[:3], None)
    answers = read_windows(classifier, members[0], pairs=members[1])
    plain = TextClassifier(decoder).set_params(precision="fp32")
    plain.loaded_ = classifier.loaded_
    for place, windows in enumerate(answers):
        whole = f"{short[place]}\n{texts[place]}" if has_pairs else texts[place]
        assert len(windows) > 2
        assert windows[-1].text.endswith(("good", "evil"))
        for window in windows:
            assert window.text == whole[window.start : window.stop]
            alone = (
                plain.tokenize([short[place]], [window.text])
                if has_pairs
                else (plain.tokenize([window.text]))
            )
            expected = plain.probs(plain.predict_logits(alone))[0]
            assert window.values == pytest.approx(expected, abs=1e-5)
    ids = np.array([0, 1, 0])
    found = deciding_windows(classifier, members[0], ids, pairs=members[1])
    for entry, windows, label in zip(found, answers, ids.tolist(), strict=True):
        assert entry is not None
        best = max(window.values[label] for window in windows)
        assert entry["value"] == best == windows[entry["number"] - 1].values[label]
    assert deciding_windows(classifier, ["ab"], ids[:1], pairs=["c"] if has_pairs else None) == [
        None
    ]
    too_low = deciding_windows(classifier, *members[:1], ids, pairs=members[1], errors=[-1, 1, -1])
    for entry, windows, label, least in zip(
        too_low, answers, ids.tolist(), (True, False, True), strict=True
    ):
        assert entry is not None
        values = [window.values[label] for window in windows]
        assert entry["value"] == (min(values) if least else max(values))


@pytest.mark.parametrize("task", ["multi-label", "regression", "ordinal"])
def test_windows_and_pairs_serve_every_task(tmp_path: Path, task: str) -> None:
    decoder = str(save_decoder(tmp_path / "decoder"))
    texts, _ = ends_decide(40, 1)
    pairs = [(text, f"pair {n}") for n, text in enumerate(texts)]
    labels: dict[str, list[Any]] = {
        "multi-label": [{"a"}, {"a", "b"}] * 20,
        "regression": [float(n % 7) for n in range(40)],
        "ordinal": [n % 3 for n in range(40)],
    }
    classifier = TextClassifier(decoder, **FAST, task=task, max_length=40, long="windows")
    classifier.fit(pairs, labels[task])
    classifier.save_pretrained(tmp_path / "model")
    again = TextClassifier.from_pretrained(tmp_path / "model", precision="fp32")
    together, answered = classifier._values(pairs), classifier.predict(pairs)
    assert np.array_equal(again._values(pairs), together)
    assert np.array_equal(classifier._values(pairs[7:8])[0], together[7])
    assert len(answered) == 40


@pytest.mark.parametrize("length", [20, 400])
def test_pairs_inside_a_template_are_the_same_for_plain_transformers(
    tmp_path: Path, length: int
) -> None:
    decoder = str(save_decoder(tmp_path / "decoder", "qwen3", adds_bos=True))
    rows = same_or_other(40)
    examples = [{"text": r["q1"] * 4, "text_pair": r["q2"], "label": r["label"]} for r in rows]
    template = "First: {text}\nSecond: {text_pair}\nSame?"
    classifier = TextClassifier(decoder, **FAST, template=template, max_length=80)
    classifier.fit(examples)
    classifier.save_pretrained(tmp_path / "model")
    plain = pipeline("text-classification", str(tmp_path / "model"), device="cpu", top_k=None)
    texts = [{"text": ("so it is " * 99)[:length], "text_pair": f"{n} " * n} for n in (1, 9, 60)]
    for own, answer in zip(
        classifier.predict_proba(texts), plain(texts, truncation=True), strict=True
    ):
        scores = {entry["label"]: entry["score"] for entry in answer}
        assert [scores[label] for label in classifier.classes_] == pytest.approx(own, abs=1e-5)


def test_pairs_come_as_tuples_lists_and_mappings() -> None:
    as_tuples = examples_from_python([("a", "b"), ["c", "d"]], ["x", "y"])
    as_mappings = examples_from_python(
        [{"text": "a", "text_pair": "b"}, {"text": "c", "text_pair": "d"}], ["x", "y"]
    )
    with_labels = examples_from_python(
        [
            {"text": "a", "text_pair": "b", "label": "x"},
            {"text": "c", "text_pair": "d", "label": "y"},
        ]
    )
    assert as_tuples == as_mappings == with_labels
    assert as_tuples[1].whole_text == "c\nd"


def test_single_texts_and_pairs_are_not_mixed(tmp_path: Path) -> None:
    decoder = str(save_decoder(tmp_path / "decoder"))
    texts: list[Any] = [(f"a {n}", f"b {n}") for n in range(40)]
    labels = ["x", "y"] * 20
    with pytest.raises(DatasetError) as refused:
        TextClassifier(decoder, **FAST).fit([*texts[:-1], "alone"], labels)
    assert "39 of 40 texts come with a second one" in str(refused.value) or (
        "texts come with a second one" in refused.value.found
    )
    paired = TextClassifier(decoder, **FAST).fit(texts, labels)
    with pytest.raises(DatasetError) as refused:
        paired.predict(["alone"])
    assert refused.value.found == "single texts, but the model was trained on pairs of texts"
    single = TextClassifier(decoder, **FAST).fit([a for a, _ in texts], labels)
    with pytest.raises(DatasetError) as refused:
        single.predict(texts)
    assert refused.value.found.startswith("texts with a second one, but the model was trained on")
    with pytest.raises(ConfigError, match=r"no \{text_pair\}, but the texts come in pairs"):
        TextClassifier(decoder, **FAST, template="{text}!").fit(texts, labels)


def test_copies_and_fingerprints_go_by_both_texts() -> None:
    one, other = Example("a", "x", text_pair="b"), Example("a", "x", text_pair="c")
    assert copy_key(one) != copy_key(other)
    assert copy_key(one) == copy_key(Example("A ", text_pair=" b"))
    assert copy_key(Example("a b")) != copy_key(Example("a", text_pair="b"))
    assert len({fingerprint([e]) for e in (one, other, Example("a", "x"), Example("ab", "x"))}) == 4
    pairs = [Example("same text", "xy"[n % 2], text_pair=f"pair {n // 2}") for n in range(40)]
    parts = set_aside(tuple(pairs), {"validation": 0.2}, 1, ignore)
    seen = {example.text_pair for example in parts["train"]}
    assert not seen & {example.text_pair for example in parts["validation"]}


def test_repairs_reach_both_texts(tmp_path: Path) -> None:
    from lasttoken.data.unicode import check_unicode

    events: list[Event] = []
    broken = "sch\u00c3\u00b6n"
    examples = [Example("fine", "x", text_pair=broken), Example("fine", "y", text_pair="fine")]
    fixed = check_unicode(examples, fix=True, on_event=events.append)
    assert [example.text_pair for example in fixed] == ["sch\u00f6n", "fine"]
    assert isinstance(events[0], Note)
    assert events[0].text.startswith("1 text holds broken or unusual Unicode")
