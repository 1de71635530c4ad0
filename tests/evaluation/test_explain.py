"""The words that mattered: each weight is what reading the text without the word would show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from families import END_OF_TEXT, FAMILIES, read_as, save_decoder
from lasttoken.data.labels import LabelSpec
from lasttoken.errors import BackboneError
from lasttoken.evaluation import gradients, leaving_out
from lasttoken.evaluation.explain import Method, explain, explain_by_gradients
from lasttoken.evaluation.gradients import log_odds
from lasttoken.evaluation.leaving_out import Explanation, Span, explain_by_leaving_out
from lasttoken.evaluation.words import find_words, locate_tokens
from lasttoken.events import Event, Note, Progress
from lasttoken.inference.predictor import Predictor
from lasttoken.model.folder import LoadedModel, load_for_training

METHODS: tuple[Method, ...] = ("leave-one-out", "integrated-gradients")
LABELS = LabelSpec(("bad", "good", "so-so"))
TEXTS = (
    "The pianist plays on,  while the city falls.",
    "no",
    "",
    " \n ",
    "Ein größerer Film\nals der erste ",
    "It ends as it begins " + END_OF_TEXT,
)
IDS = np.array([0, 1, 2, 0, 1, 2])


class Reader(Predictor):
    """A predictor in fp32 on the CPU; what is given changes how it reads texts."""

    def __init__(self, loaded: LoadedModel, *, fix_text: bool = False, **settings: object) -> None:
        loaded = read_as(loaded, **settings)
        self.loaded_ = replace(loaded, record=replace(loaded.record, fix_text=fix_text))
        self.device = "cpu"
        self.precision = "fp32"


def load(folder: Path, family: str = "gpt2", *, adds_bos: bool = False) -> LoadedModel:
    return load_for_training(save_decoder(folder, family, adds_bos=adds_bos), LABELS, seed=1)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(tmp_path_factory.mktemp("decoder") / "model")


@pytest.fixture(scope="module", params=[*FAMILIES, "padded"])
def any_family(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LoadedModel:
    """Every family; and one that is read padded on the right."""
    folder = tmp_path_factory.mktemp("decoder") / "model"
    if request.param != "padded":
        return load(folder, request.param)
    loaded = load(folder, "llama")
    loaded.classifier.hf_model.set_attn_implementation("eager")
    loaded.classifier._read = loaded.classifier._read_padded
    return loaded


def prob(reader: Reader, text: str, label_id: int) -> float:
    return float(reader.probs(reader.predict_logits(reader.tokenize([text])))[0, label_id])


def joined(explanation: Explanation) -> str:
    return "".join(span.text for span in explanation)


def words(explanation: Explanation) -> list[str]:
    return [span.text for span in explanation if span.weight != 0.0]


def total(explanation: Explanation) -> float:
    return sum(span.weight for span in explanation)


def test_leaving_out_is_predicting_each_text_with_one_word_less(gpt2: LoadedModel) -> None:
    reader = Reader(gpt2)
    text = " A film,  a\tfilm!\n"
    without = {
        "A": " film,  a\tfilm!\n",
        "film,": " A  a\tfilm!\n",
        "a": " A film,\tfilm!\n",
        "film": " A film,  a!\n",
        "!": " A film,  a\tfilm\n",
    }
    [explanation] = explain_by_leaving_out(reader, [text], np.array([1]))
    whole = prob(reader, text, 1)
    expected = [
        Span(" ", 0.0),
        Span("A", whole - prob(reader, without["A"], 1)),
        Span(" ", 0.0),
        Span("film,", whole - prob(reader, without["film,"], 1)),
        Span("  ", 0.0),
        Span("a", whole - prob(reader, without["a"], 1)),
        Span("\t", 0.0),
        Span("film", whole - prob(reader, without["film"], 1)),
        Span("!", whole - prob(reader, without["!"], 1)),
        Span("\n", 0.0),
    ]
    assert list(explanation) == expected
    assert max(abs(span.weight) for span in explanation) > 0.01


def test_a_template_is_read_and_never_left_out(gpt2: LoadedModel) -> None:
    reader = Reader(gpt2, template="Is this good? {text}")
    [explanation] = explain_by_leaving_out(reader, ["two words"], np.array([0]))
    plain = Reader(gpt2)
    whole = prob(plain, "Is this good? two words", 0)
    assert [span.text for span in explanation] == ["two", " ", "words"]
    assert explanation[0].weight == pytest.approx(
        whole - prob(plain, "Is this good? words", 0), abs=1e-6
    )
    assert explanation[2].weight == pytest.approx(
        whole - prob(plain, "Is this good? two", 0), abs=1e-6
    )


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_text_has_no_span_and_one_word_is_one(gpt2: LoadedModel, method: Method) -> None:
    reader = Reader(gpt2)
    assert explain(reader, [], np.array([], dtype=np.int64), method=method) == []
    empty, word, white = explain(reader, ["", "word", " \n"], np.zeros(3, np.int64), method=method)
    assert empty == ()
    assert [span.text for span in word] == ["word"]
    assert [span.text for span in white] == [" \n"]
    if method == "leave-one-out":
        assert word[0].weight == prob(reader, "word", 0) - prob(reader, "", 0)


@pytest.mark.parametrize("method", METHODS)
def test_words_behind_the_cut_weigh_nothing_and_cost_nothing(
    gpt2: LoadedModel, method: Method
) -> None:
    reader = Reader(gpt2, max_length=10)
    text = "one two three four five " + "and so on " * 500
    events: list[Event] = []
    [explanation] = explain(reader, [text], np.array([0]), method=method, on_event=events.append)
    assert joined(explanation) == text
    assert words(explanation) == ["one", "two", "three"]  # of "three" two letters are read
    num_texts = {"leave-one-out": 1 + 3, "integrated-gradients": 1}[method]
    assert events[-1] == Progress("explain", num_texts, num_texts, "texts")
    if method == "leave-one-out":  # what stood behind the cut comes in
        assert explanation[0].weight == prob(reader, "one two th", 0) - prob(
            reader, "two three ", 0
        )


@pytest.mark.parametrize("method", METHODS)
def test_an_explanation_does_not_depend_on_the_other_texts(
    gpt2: LoadedModel, method: Method
) -> None:
    reader = Reader(gpt2)
    together = explain(reader, TEXTS, IDS, method=method)
    alone = [explain(reader, [text], IDS[[i]], method=method)[0] for i, text in enumerate(TEXTS)]
    backwards = explain(reader, TEXTS[::-1], IDS[::-1], method=method)[::-1]
    assert together == alone == backwards
    assert [joined(explanation) for explanation in together] == list(TEXTS)


@pytest.mark.parametrize("method", METHODS)
def test_a_text_of_many_words_is_cut_into_even_spans(gpt2: LoadedModel, method: Method) -> None:
    text = " ".join("abcdefghij" * 10)
    [explanation] = explain(Reader(gpt2), [text], np.array([0]), method=method)
    spans = [span.text for span in explanation[::2]]
    assert len(spans) == 64
    assert {len(span.split()) for span in spans} == {1, 2}
    assert joined(explanation) == text
    assert {(span.text, span.weight) for span in explanation[1::2]} == {(" ", 0.0)}


def test_leaving_out_words_of_a_long_text_stays_within_its_tokens(
    gpt2: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving_out, "MOST_TOKENS", 500)
    text = "word " * 20  # 100 tokens
    for template in (None, "A beginning is shared:\n{text}"):
        reader = Reader(gpt2, template=template)
        [explanation] = explain_by_leaving_out(reader, [text], np.array([0]))
        assert len(words(explanation)) == 5
        assert joined(explanation) == text


@settings(max_examples=60)
@given(
    st.text(max_size=40),
    st.none() | st.text(max_size=40),
    st.sampled_from(METHODS),
    st.booleans(),
    st.sampled_from(["cut-end", "cut-start", "cut-middle", "windows"]),
)
def test_the_spans_of_any_text_join_to_it(
    gpt2: LoadedModel, text: str, pair: str | None, method: Method, fix_text: bool, long: str
) -> None:
    template = "p: {text}" if pair is None else "p: {text}; {text_pair}"
    reader = Reader(gpt2, max_length=30, template=template, fix_text=fix_text, long=long,
                    has_pairs=pair is not None)  # fmt: skip
    pairs = None if pair is None else [pair]
    [explanation] = explain(reader, [text], np.array([0]), pairs=pairs, method=method)
    assert joined(explanation) == (text if pair is None else f"{text}\n{pair}")
    assert all(span.text for span in explanation)
    assert np.isfinite([span.weight for span in explanation]).all()


@given(st.text())
def test_words_stand_in_order_and_leave_only_white_space(text: str) -> None:
    places = find_words(text)
    ends = [0, *(end for _, end in places)]
    assert all(start < end for start, end in places)
    between = [text[end:start] for end, (start, _) in zip(ends, places, strict=False)]
    assert not "".join([*between, text[ends[-1] :]]).strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("這部電影。很好看 indeed", ["這", "部", "電", "影", "。", "很", "好", "看", "indeed"]),
        ("すごい映画", list("すごい映画")),
        ("ดีมาก", ["ดี", "ม", "า", "ก"]),  # a vowel sign stays with its letter
        ("아주 좋은 영화", ["아주", "좋은", "영화"]),
        ("don't stop-it!", ["don't", "stop-it", "!"]),
        ('He said: "No."', ["He", "said:", '"No', '."']),
        ("?!", ["?!"]),
    ],
)
def test_words_are_found_in_every_script(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in find_words(text)] == expected


def test_as_many_label_ids_as_texts(gpt2: LoadedModel) -> None:
    for method in METHODS:
        with pytest.raises(ValueError, match="zip"):
            explain(Reader(gpt2), ["a", "b"], np.array([0]), method=method)


# Integrated gradients


def no_text(loaded: LoadedModel, num_tokens: int) -> list[int]:
    """End-of-text, then spaces."""
    spaces = loaded.tokenizer(" " * (num_tokens - 1), add_special_tokens=False)["input_ids"]
    return [256, *spaces]


def log_odds_of(loaded: LoadedModel, token_ids: Sequence[int], label_id: int) -> float:
    """By the family's own class, with its own attention."""
    model = loaded.classifier.hf_model
    ids = torch.tensor([list(token_ids)])
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            states = model.base_model(ids, attention_mask=torch.ones_like(ids), use_cache=False)
            return float(log_odds(model.score(states.last_hidden_state[:, -1]), label_id))
    finally:
        model.set_attn_implementation(attention)


def test_the_weights_add_up_to_the_way_from_no_text(any_family: LoadedModel) -> None:
    for text, label_id in (("a quiet, moving film", 0), ("Two hours of my life", 2)):
        ids = any_family.tokenizer(text)["input_ids"]
        [explanation] = explain_by_gradients(
            Reader(any_family), [text], np.array([label_id]), num_steps=200
        )
        way = log_odds_of(any_family, ids, label_id) - log_odds_of(
            any_family, no_text(any_family, len(ids)), label_id
        )
        assert total(explanation) == pytest.approx(way, abs=0.01 * max(1.0, abs(way)))
        assert max(abs(span.weight) for span in explanation) > 0.1


def test_each_weight_is_the_integral_by_the_familys_own_code(any_family: LoadedModel) -> None:
    text, label_id, num_steps = "a fine film", 1, 400
    model = any_family.classifier.hf_model
    ids = torch.tensor([any_family.tokenizer(text)["input_ids"]])
    table = model.get_input_embeddings()
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        start, end = table(torch.tensor([no_text(any_family, ids.shape[1])])), table(ids)
    integral = torch.zeros_like(end)
    for part in ((torch.arange(num_steps) + 0.5) / num_steps).split(100):
        points = (start + part[:, None, None] * (end - start)).requires_grad_()
        states = model.base_model(
            inputs_embeds=points,
            attention_mask=torch.ones(points.shape[:2], dtype=torch.int64),
            use_cache=False,
        ).last_hidden_state[:, -1]
        log_odds(model.score(states), label_id).sum().backward()
        integral += points.grad.sum(dim=0)
    model.zero_grad()
    model.set_attn_implementation(attention)
    by_token = ((end - start) * integral / num_steps).sum(dim=-1)[0].tolist()
    expected = [by_token[0], sum(by_token[1:6]), sum(by_token[6:])]  # a token a byte
    [explanation] = explain_by_gradients(
        Reader(any_family), [text], np.array([label_id]), num_steps=200
    )
    found = [span.weight for span in explanation if span.text.strip()]
    assert found == pytest.approx(expected, abs=0.01 * max(1.0, *map(abs, expected)))


def test_where_only_the_last_token_is_read_it_alone_has_weight(tmp_path: Path) -> None:
    loaded = load(tmp_path / "model")
    for block in loaded.classifier.hf_model.transformer.h:
        torch.nn.init.zeros_(block.attn.c_proj.weight)
    [explanation] = explain_by_gradients(Reader(loaded), ["a fine m"], np.array([0]), num_steps=100)
    assert [span.weight for span in explanation[:4]] == [0.0] * 4
    ids = loaded.tokenizer("a fine m")["input_ids"]
    none = no_text(loaded, len(ids))
    way = log_odds_of(loaded, ids, 0) - log_odds_of(loaded, none, 0)
    assert abs(way) > 0.1
    assert explanation[4].weight == pytest.approx(way, abs=0.01)


def test_what_the_tokenizer_adds_and_the_template_stand_in_the_baseline_too(
    tmp_path: Path,
) -> None:
    loaded = load(tmp_path / "model", "llama", adds_bos=True)
    prompt, text = "Good?\n", "it is"
    [explanation] = explain_by_gradients(
        Reader(loaded, template=prompt + "{text}"), [text], np.array([0]), num_steps=200
    )
    ids = loaded.tokenizer(prompt + text)["input_ids"]
    assert ids[0] == 257
    none = [*ids[: 1 + len(prompt)], *no_text(loaded, len(text) + 1)[1:]]
    way = log_odds_of(loaded, ids, 0) - log_odds_of(loaded, none, 0)
    assert total(explanation) == pytest.approx(way, abs=0.01 * max(1.0, abs(way)))


def test_the_classifier_is_left_as_it_was(
    any_family: LoadedModel, capfd: pytest.CaptureFixture[str]
) -> None:
    classifier = any_family.classifier
    model = classifier.hf_model
    frozen = next(classifier.parameters())
    frozen.requires_grad_(False)
    classifier.train()
    state = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    flags = [parameter.requires_grad for parameter in classifier.parameters()]
    attention = model.config._attn_implementation
    try:
        with torch.no_grad():  # as a caller may have it
            explain_by_gradients(Reader(any_family), ["a film"], np.array([0]))
            assert not torch.is_grad_enabled()
        assert not classifier.training
        assert flags == [parameter.requires_grad for parameter in classifier.parameters()]
        assert {parameter.grad for parameter in classifier.parameters()} == {None}
        assert all(torch.equal(state[name], now) for name, now in classifier.state_dict().items())
        assert model.config._attn_implementation == attention
        assert not model.get_input_embeddings()._forward_hooks
        assert capfd.readouterr() == ("", "")
    finally:
        frozen.requires_grad_(True)


def test_gradients_are_fp32_whatever_the_predictor_computes_in(gpt2: LoadedModel) -> None:
    reader, hasty = Reader(gpt2), Reader(gpt2)
    hasty.precision = "bf16"
    expected = explain_by_gradients(reader, [TEXTS[0]], np.array([0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert explain_by_gradients(hasty, [TEXTS[0]], np.array([0])) == expected


def test_steps_that_fill_several_batches_add_up_the_same(
    gpt2: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    [whole] = explain_by_gradients(Reader(gpt2), [TEXTS[0]], np.array([0]))
    monkeypatch.setattr(gradients, "MAX_TOKENS_PER_PASS", 150)  # 3 of 32 copies
    [parts] = explain_by_gradients(Reader(gpt2), [TEXTS[0]], np.array([0]))
    assert [span.weight for span in parts] == pytest.approx(
        [span.weight for span in whole], rel=1e-3, abs=1e-4
    )


def test_weights_that_do_not_add_up_are_tried_in_smaller_steps_and_told(tmp_path: Path) -> None:
    reader = Reader(load(tmp_path / "model", "opt"))

    def told(num_steps: int) -> list[Event]:
        events: list[Event] = []
        explain_by_gradients(
            reader, [TEXTS[0], ""], IDS[:2], num_steps=num_steps, on_event=events.append
        )
        return [event for event in events if not isinstance(event, Progress)]

    text = (
        "integrated gradients of 1 of 2 texts do not add up to what the model answers, even in "
        "small steps: trust leave-one-out there"
    )
    assert told(1) == [Note(text, is_warning=True)]
    assert told(64) == []


def test_log_odds_are_those_of_the_probability() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probs = logits.softmax(dim=1)[:, 1]
    assert torch.allclose(log_odds(logits, 1), torch.log(probs / (1 - probs)))
    assert torch.allclose(log_odds(logits[:, :2], 0), logits[:, 0] - logits[:, 1])


# Where tokens stand


@pytest.mark.parametrize("fix_text", [False, True])
@pytest.mark.parametrize("template", [None, "A prompt: {text} And?"])
@pytest.mark.parametrize("long", ["cut-end", "cut-start", "cut-middle", "windows"])
@pytest.mark.parametrize(
    "text", [*TEXTS, "&amp; l\u2019homme", "na\u00c3\u00afve  &lt;b&gt; caf\u00e9", "\x7f"]
)
def test_tokens_are_located_as_they_are_read(
    gpt2: LoadedModel, text: str, template: str | None, fix_text: bool, long: str
) -> None:
    reader = Reader(gpt2, max_length=40, template=template, fix_text=fix_text, long=long)
    tokens = locate_tokens(reader.loaded_, text)
    assert np.array_equal(tokens.token_ids, reader.tokenize([text])[0])
    places = tokens.places[tokens.is_text]
    assert (places[:, 0] < places[:, 1]).all()
    assert ((places >= 0) & (places <= len(text))).all()


def test_repaired_words_are_found_where_they_stood(gpt2: LoadedModel) -> None:
    text = "so na\u00c3\u00afve &amp; fine"  # read as: so naïve & fine
    tokens = locate_tokens(Reader(gpt2, fix_text=True).loaded_, text)
    read = [gpt2.tokenizer.decode([token]) for token in tokens.token_ids.tolist()]
    assert len(read) == len("so na\u00efve & fine".encode())
    assert {text[start:end] for start, end in tokens.places[-4:]} == {"f", "i", "n", "e"}
    assert text[tokens.places[0, 0]] == "s"
    assert text.index("&") <= tokens.places[10, 0] < text.index(";") + 1
    assert 3 <= tokens.places[3, 0] < tokens.places[8, 1] <= text.index(" &")


def test_a_tokenizer_that_does_not_tell_is_refused_by_gradients_alone(
    gpt2: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(gpt2, max_length=5)
    monkeypatch.setattr(type(gpt2.tokenizer), "is_fast", False)
    [explanation] = explain_by_leaving_out(reader, ["one two three"], np.array([0]))
    assert [span.text for span in explanation] == ["one", " ", "two", " ", "three"]
    assert explanation[-1].weight == 0.0
    with pytest.raises(BackboneError) as refused:
        explain_by_gradients(reader, ["one"], np.array([0]))
    assert "does not tell where its tokens stand" in refused.value.found
    assert refused.value.expected == "a tokenizer with tokenizer.json for integrated gradients"
    assert refused.value.remedy == "explain by leaving out words"
