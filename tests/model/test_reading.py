"""Templates, pairs and long texts: the same answer in any company and in any program."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equivalences
import numpy as np
import pytest
import torch
from equivalences import TEXTS, classify
from hypothesis import given
from hypothesis import strategies as st
from test_equivalences import load
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import GPT2Config, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from families import END_OF_TEXT, byte_tokenizer, read_as
from lasttoken.errors import BackboneError, ConfigError
from lasttoken.inference.prediction import predict_logits
from lasttoken.model.folder import (
    LoadedModel,
    ModelRecord,
    load_for_prediction,
    load_for_training,
    save_model_folder,
)
from lasttoken.model.frame import num_read_otherwise
from lasttoken.model.reading import Reading, window_starts
from lasttoken.model.settling import settle_reading
from lasttoken.model.tokens import TokenizedTexts, tokenize

CPU = torch.device("cpu")
TEMPLATE = "Review: {text}\nSentiment:"

# Of each family another way of reading.
READINGS: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {"template": TEMPLATE}),
    ("gpt2", {"long": "windows", "max_length": 40, "template": TEMPLATE}),
    ("gpt_neox", {"has_pairs": True, "max_length": 60}),
    ("opt", {"long": "cut-start", "max_length": 40}),
    ("llama", {"long": "windows", "max_length": 40, "window_overlap": 3}),
    ("qwen3", {"template": "Q: {text} A: {text_pair}", "has_pairs": True, "max_length": 70}),
    ("mistral", {"long": "windows", "max_length": 30, "has_pairs": True}),
    ("gemma2", {"long": "cut-middle", "max_length": 40, "template": "{text} So?"}),
]
CHECKS: dict[str, Callable[[LoadedModel], None]] = {
    "1": equivalences.packed_equals_alone_and_padded,
    "2": equivalences.neighbors_change_nothing,
    "3": equivalences.order_is_kept,
    "4": equivalences.gradients_add_up,
    "5": equivalences.accumulated_batches_equal_a_large_one,
}


@pytest.fixture(scope="module", params=READINGS, ids=str)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    family, settings = request.param
    return read_as(load(tmp_path_factory.mktemp("decoder") / "model", family), **settings)


@pytest.mark.parametrize("number", CHECKS)
def test_equivalence_holds(loaded: LoadedModel, number: str) -> None:
    CHECKS[number](loaded)


def test_a_saved_folder_is_the_same_classifier_everywhere(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    equivalences.saved_folder_is_the_same_classifier(loaded, tmp_path / "model")
    again = load_for_prediction(tmp_path / "model")
    assert again.record.reading == loaded.record.reading
    assert again.tokenizer.truncation_side == loaded.record.reading.truncation_side


@pytest.mark.parametrize(
    "loaded",
    [each for each in READINGS if each[1].get("long") == "windows"],
    indirect=True,
    ids=str,
)
def test_logits_of_windows_are_the_mean_of_theirs(loaded: LoadedModel) -> None:
    reading = loaded.record.reading
    texts, num_windows = tokens_of(loaded, TEXTS), 0
    logits = logits_of(loaded, texts)
    assert np.abs(logits - classify(loaded, TEXTS).numpy()).max() <= 1e-5 * np.abs(logits).max()
    for index in range(len(texts)):
        windows = [texts.token_ids[start:stop] for start, stop in texts.stretches(index)]
        assert {len(window) for window in windows} == {len(texts[index]) // len(windows)}
        alone = flat(windows, dataclasses.replace(reading, long="cut-end"))
        mean = logits_of(loaded, alone).mean(axis=0)
        assert np.abs(mean - logits[index]).max() <= 1e-5 * max(1.0, float(np.abs(mean).max()))
        num_windows = max(num_windows, len(windows))
    assert num_windows > 5


def test_a_text_of_more_windows_than_a_batch_holds_gets_the_same_bits(loaded: LoadedModel) -> None:
    texts = tokens_of(loaded, TEXTS)
    together = logits_of(loaded, texts)
    assert np.array_equal(logits_of(loaded, texts, max_tokens_per_batch=90), together)
    for index in range(len(texts)):
        alone = logits_of(loaded, texts.take(np.array([index])), max_tokens_per_batch=50)
        assert np.array_equal(alone[0], together[index])


def tokens_of(loaded: LoadedModel, texts: tuple[str, ...]) -> TokenizedTexts:
    reading = loaded.record.reading
    pairs = [text[::-1] for text in texts] if reading.has_pairs else None
    return tokenize(loaded.tokenizer, texts, reading, pairs=pairs)


def logits_of(loaded: LoadedModel, texts: TokenizedTexts, **limits: int) -> np.ndarray:
    return predict_logits(loaded.classifier, texts, device=CPU, precision="fp32", **limits)


def flat(rows: list[np.ndarray], reading: Reading) -> TokenizedTexts:
    lengths = np.array([len(row) for row in rows])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return TokenizedTexts(np.concatenate(rows), offsets, lengths, lengths < 0, reading)


# Which tokens are read


@given(
    st.integers(0, 60), st.none() | st.integers(0, 60), st.integers(9, 40),
    st.sampled_from(["cut-end", "cut-start"]),
)  # fmt: skip
def test_texts_are_cut_as_the_tokenizer_cuts_them(
    length: int, pair: int | None, max_length: int, long: str
) -> None:
    tokenizer, reading = settle_reading(
        byte_tokenizer(adds_bos=True), GPT2Config(), 99, max_length=max_length, long=long,
        template="a {text}b" if pair is None else "a {text}b {text_pair}c",
        has_pairs=pair is not None,
    )  # fmt: skip
    words = [("xyz" * length)[:length], ("uvw" * (pair or 0))[: pair or 0]][
        : 1 + (pair is not None)
    ]
    bare = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
    [kept] = reading.keep([len(ids) for ids in bare])
    ids = [ids[place] for ids, places in zip(bare, kept, strict=True) for place in places]
    cut = tokenizer(*([word] for word in words), truncation=True, max_length=max_length)
    inside = [token for token, member in zip(cut["input_ids"][0], cut.sequence_ids(0), strict=True)
              if member is not None]  # fmt: skip
    assert ids == inside


def test_the_middle_is_cut_out_and_the_beginning_is_a_quarter_of_the_rest() -> None:
    [(kept,)] = Reading(40, long="cut-middle").keep([100])
    assert kept.tolist() == [*range(10), *range(70, 100)]


@given(st.integers(1, 300), st.integers(1, 50), st.data())
def test_windows_cover_a_text_and_overlap(length: int, size: int, data: st.DataObject) -> None:
    length = max(length, size)
    overlap = data.draw(st.integers(0, size - 1))
    starts = window_starts(length, size, overlap)
    assert starts[0] == 0
    assert starts[-1] == length - size
    steps = np.diff(starts)
    assert len(steps) == 0 or (steps.min() >= 1 and steps.max() <= size - overlap)
    assert size + (size - overlap) * (len(starts) - 2) < length or len(starts) == 1  # no fewer do


def test_the_shorter_of_two_texts_stands_in_every_window() -> None:
    reading = Reading(20, has_pairs=True, long="windows", window_overlap=2, between=(7,))
    windows = reading.keep([30, 5])
    assert all(pair.tolist() == [0, 1, 2, 3, 4] for _, pair in windows)
    assert all(len(text) == 14 for text, _ in windows)
    assert {place for text, _ in windows for place in text.tolist()} == set(range(30))


def test_a_second_text_too_long_to_stand_in_every_window_is_cut_and_told() -> None:
    loaded_tokenizer, reading = settle_reading(
        byte_tokenizer(), GPT2Config(), 99, max_length=21, has_pairs=True, long="windows"
    )
    texts = tokenize(loaded_tokenizer, ["x" * 30, "x" * 30], reading, pairs=["y" * 12, "y" * 9])
    assert texts.truncated.tolist() == [True, False]
    assert texts.num_windows.tolist() == [4, 4]
    assert set(texts.lengths.tolist()) == {84}


# The words around a text


def sentence_pieces() -> PreTrainedTokenizerBase:
    """A tokenizer in the manner of SentencePiece: it starts every text with a space of its own."""
    letters = sorted({*"Review: Sentmgodfilb.?\n", "\u2581"})
    backend = Tokenizer(
        models.BPE({letter: n for n, letter in enumerate(letters)}, merges=[], unk_token="?")
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    backend.decoder = decoders.Replace("\u2581", " ")
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END_OF_TEXT)


def word_tokenizer(**parts: Any) -> PreTrainedTokenizerBase:
    """Byte-level, with tokens for words that begin with a space."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("\u0120", "g"), ("\u0120g", "o"), ("\u0120go", "o"), ("\u0120goo", "d")]
    vocabulary = {symbol: n for n, symbol in enumerate(alphabet)} | {END_OF_TEXT: 256}
    vocabulary |= {"".join(pair): 257 + n for n, pair in enumerate(merges)}
    backend = Tokenizer(models.BPE(vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    for name, part in parts.items():
        setattr(backend, name, part)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END_OF_TEXT)


@pytest.mark.parametrize(
    "tokenizer",
    [
        byte_tokenizer(adds_bos=True),
        word_tokenizer(),
        word_tokenizer(normalizer=normalizers.NFC()),
        sentence_pieces(),
    ],
    ids=["bytes", "words", "normalized", "sentence pieces"],
)
@pytest.mark.parametrize("template", [TEMPLATE, "{text}", "Review:\n{text} good?", "go {text}"])
def test_tokens_are_those_of_the_string_with_the_words_around_the_text(
    tokenizer: PreTrainedTokenizerBase, template: str
) -> None:
    framed, reading = settle_reading(tokenizer, GPT2Config(), 99, template=template)
    texts = ["good", "film", "a good film", "Good. Good? ", "be\nbe", "  good"]
    # A tokenizer that starts every text with a space does so behind a line break too.
    starts = tokenizer.tokenize("good")[0]
    differs = "\n{text}" in template and starts.startswith("\u2581")
    others = num_read_otherwise(tokenizer, framed, reading, texts, None)
    assert others == (len(texts) if differs else 0)
    assert len(reading.before) + len(reading.after) == len(framed("")["input_ids"])


def test_a_space_in_front_of_the_text_belongs_to_its_first_word() -> None:
    framed, reading = settle_reading(word_tokenizer(), GPT2Config(), 99, template="It is {text}!")
    assert framed("good")["input_ids"] == [*reading.before, 260, *reading.after]
    assert framed.decode(reading.before) == "It is"


def test_texts_of_which_the_ends_meet_the_template_are_counted() -> None:
    tokenizer = word_tokenizer()
    framed, reading = settle_reading(tokenizer, GPT2Config(), 99, template="{text}ood")
    assert num_read_otherwise(tokenizer, framed, reading, ["a", "x g", " g", "go"], None) == 2


def test_names_of_special_tokens_are_tokens_in_a_template_and_text_in_a_text() -> None:
    framed, reading = settle_reading(
        byte_tokenizer(), GPT2Config(), 99, template=END_OF_TEXT + "{text}"
    )
    assert reading.before == (256,)
    assert framed(END_OF_TEXT)["input_ids"].count(256) == 1


def test_what_stands_between_two_texts_is_the_tokenizers_or_a_line_break() -> None:
    own = byte_tokenizer(adds_bos=True)
    own.add_bos_token = True  # <s> text <s> second text
    _, reading = settle_reading(own, GPT2Config(), 99, has_pairs=True)
    assert (reading.before, reading.between, reading.pair_separator) == ((257,), (257,), "")
    framed, reading = settle_reading(byte_tokenizer(), GPT2Config(), 99, has_pairs=True)
    assert reading.pair_separator == "\n"
    assert framed.decode(framed("one", "two")["input_ids"]) == "one\ntwo"


def test_a_folder_with_a_template_can_be_trained_with_another(tmp_path: Path) -> None:
    first = load(tmp_path / "decoder", "gpt2")
    framed = read_as(first, template="One {text}")
    save_model_folder(tmp_path / "one", first.classifier, framed.tokenizer, framed.record)
    again = load_for_training(tmp_path / "one", first.classifier.labels, seed=1)
    assert again.tokenizer("text")["input_ids"] == first.tokenizer("text")["input_ids"]
    other = read_as(again, template="Two {text}")
    assert other.tokenizer.decode(other.tokenizer("text")["input_ids"]) == "Two text"
    assert other.record.reading.replaced == framed.record.reading.replaced


def test_a_tokenizer_that_lost_the_template_is_refused(tmp_path: Path) -> None:
    loaded = read_as(load(tmp_path / "decoder", "gpt2"), template=TEMPLATE)
    save_model_folder(tmp_path / "saved", loaded.classifier, loaded.tokenizer, loaded.record)
    path = tmp_path / "saved" / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "post_processor": None}))
    with pytest.raises(BackboneError) as refused:
        load_for_prediction(tmp_path / "saved")
    assert "its tokenizer makes the tokens" in refused.value.found
    assert refused.value.expected.endswith("as in training")
    assert refused.value.remedy == "restore tokenizer.json and tokenizer_config.json"


_BAD = ("words around {text}, or around {text} and, behind it, {text_pair}", "--template ")


@pytest.mark.parametrize(
    ("settings", "found", "expected", "remedy"),
    [
        (
            {"template": "no field"},
            "--template 'no field': no {text}",
            "words around {text}, or around {text} and, behind it, {text_pair}; {{ and }} for",
            r'--template "Review: {text}\nSentiment:"',
        ),
        ({"template": "{text}{l}"}, "--template '{text}{l}': unknown field {l}", *_BAD),
        ({"template": "{text}{text}"}, "--template '{text}{text}': a field twice", *_BAD),
        ({"template": "{text"}, "--template '{text': expected '}' before end of string", *_BAD),
        ({"template": "{text!r}"}, "--template '{text!r}': unknown field {text!r}", *_BAD),
        (
            {"template": "{text_pair} {text}"},
            "--template '{text_pair} {text}': {text_pair} before {text}",
            *_BAD,
        ),
        (
            {"template": "{text}", "has_pairs": True},
            "--template '{text}': no {text_pair}, but the texts come in pairs",
            "a template with {text} and, behind it, {text_pair}",
            r'--template "{text}\n{text_pair}"',
        ),
        (
            {"template": "{text} {text_pair}"},
            "--template '{text} {text_pair}': has {text_pair}, but the texts come alone",
            "a column of second texts, or a template with {text} only",
            "--text-pair-column NAME",
        ),
        (
            {"template": "A long beginning {text}", "max_length": 16},
            "--template: 16 tokens, which leaves no room for a text",
            "fewer than the 16 tokens that are read at once",
            "a shorter --template, or a larger --max-length",
        ),
        (
            {"has_pairs": True, "max_length": 2},
            "--max-length 2: beside the text: 1 tokens, which leaves no room for a text",
            "fewer than the 2 tokens that are read at once",
            "a larger --max-length",
        ),
        (
            {"long": "windows", "max_length": 20, "window_overlap": 11},
            "--window-overlap 11: a window has 20 tokens of the text",
            "at most half of that, 10",
            "--window-overlap 5, or a larger --max-length",
        ),
        (
            {"window_overlap": 11},
            "--window-overlap 11 with --long cut-end",
            "--long windows, whose windows overlap",
            "--long windows, or leave --window-overlap out",
        ),
        ({"long": "all"}, "--long all", "cut-end, cut-start, cut-middle, windows", "--long win"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(
    settings: dict[str, Any], found: str, expected: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        settle_reading(byte_tokenizer(), GPT2Config(), 99, **settings)
    assert refused.value.found == found
    assert refused.value.expected.startswith(expected)
    assert refused.value.remedy.startswith(remedy)


@pytest.mark.parametrize(
    "settings", [{"template": TEMPLATE}, {"has_pairs": True}, {"long": "windows"}], ids=str
)
def test_a_slow_tokenizer_is_refused_where_it_cannot_do_it(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = byte_tokenizer()
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    with pytest.raises(ConfigError, match="is a slow tokenizer, which does not save what stands"):
        settle_reading(tokenizer, GPT2Config(), 99, **settings)
    assert settle_reading(tokenizer, GPT2Config(), 99)[1].max_length == 99


def test_escapes_that_a_shell_passes_on_are_line_breaks() -> None:
    framed, _ = settle_reading(byte_tokenizer(), GPT2Config(), 99, template=r"{{a}}\n{text}\tb")
    assert framed.decode(framed("x")["input_ids"]) == "{a}\nx\tb"


def test_a_record_keeps_the_reading(tmp_path: Path) -> None:
    reading = read_as(load(tmp_path / "decoder", "gpt2"), template=TEMPLATE).record.reading
    content = json.loads(json.dumps(dataclasses.asdict(ModelRecord(reading))))
    assert Reading.from_json(content["reading"]) == reading
