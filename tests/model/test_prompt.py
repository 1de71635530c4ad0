"""The beginning of a template is computed once a batch, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from equivalences import TEXTS, tolerance
from test_equivalences import load

from families import FAMILIES, read_as, save_decoder
from lasttoken import TextClassifier
from lasttoken.errors import ConfigError
from lasttoken.inference.prediction import predict_logits
from lasttoken.model.batch import Batch, pack_examples
from lasttoken.model.folder import LoadedModel
from lasttoken.model.frame import plain_reading, remove_frame
from lasttoken.model.tokens import tokenize

PROMPT = "Say whether the following review is a good one: "
TEMPLATE = PROMPT + "{text}"
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    loaded = load(tmp_path_factory.mktemp("decoder") / "model", request.param)
    return read_as(loaded, template=TEMPLATE)


def batches(loaded: LoadedModel, texts: tuple[str, ...] = TEXTS) -> tuple[Batch, Batch]:
    """The same texts behind the prompt, unshared and shared; the last one has no prompt."""
    reading = loaded.record.reading
    tokenized = tokenize(loaded.tokenizer, texts, reading)
    rows = [tokenized[index] for index in range(len(texts))]
    rows[-1] = rows[-1][len(reading.prompt) :]
    targets = torch.arange(len(rows)) % 3
    return (
        pack_examples(rows, targets=targets),
        pack_examples(rows, targets=targets, prompt=reading.prompt),
    )


def test_shared_and_unshared_logits_are_equal(loaded: LoadedModel) -> None:
    whole, shared = batches(loaded)
    assert shared.input_ids.shape[1] < whole.input_ids.shape[1] - 40 * (len(TEXTS) - 2)
    with torch.no_grad():
        expected = loaded.classifier(**whole.to_inputs()).logits
        found = loaded.classifier(**shared.to_inputs()).logits
    assert (found - expected).abs().max() <= tolerance(expected)


def test_shared_and_unshared_gradients_are_equal(loaded: LoadedModel) -> None:
    gradients = []
    for batch in batches(loaded):
        loaded.classifier.zero_grad()
        (loaded.classifier(**batch.to_inputs()).loss * len(TEXTS)).backward()
        gradients.append([p.grad.clone() for p in loaded.classifier.parameters()])
    loaded.classifier.zero_grad()
    largest = max(float(gradient.abs().max()) for gradient in gradients[0])
    for whole, shared in zip(*gradients):
        assert (whole - shared).abs().max() <= 1e-5 * max(1.0, largest)


def test_a_text_behind_a_prompt_does_not_depend_on_its_neighbors(loaded: LoadedModel) -> None:
    with torch.no_grad():
        crowd = loaded.classifier(**batches(loaded)[1].to_inputs()).logits
        for index in range(len(TEXTS) - 1):
            alone = batches(loaded, (TEXTS[index], "other"))[1]
            assert torch.equal(loaded.classifier(**alone.to_inputs()).logits[0], crowd[index])


def test_a_family_read_padded_gets_the_prompt_in_front_of_each_text(tmp_path: Path) -> None:
    loaded = read_as(load(tmp_path / "model", "llama"), template=TEMPLATE)
    whole, shared = batches(loaded)
    with torch.no_grad():
        expected = loaded.classifier(**whole.to_inputs()).logits
        loaded.classifier.hf_model.set_attn_implementation("eager")
        loaded.classifier._read = loaded.classifier._read_padded
        found = loaded.classifier(**shared.to_inputs()).logits
    assert (found - expected).abs().max() <= tolerance(expected)


def test_an_equal_text_is_computed_once_and_gets_the_same_answer(loaded: LoadedModel) -> None:
    texts = [TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[0], TEXTS[3]]
    seen: list[int] = []
    forward = loaded.classifier.forward

    def counting(**inputs: torch.Tensor) -> object:
        seen.append(len(inputs["cu_seqlens"]) - 1)
        return forward(**inputs)

    loaded.classifier.forward = counting
    done: list[int] = []
    try:
        tokenized = tokenize(loaded.tokenizer, texts, loaded.record.reading)
        logits = predict_logits(
            loaded.classifier, tokenized, device=CPU, precision="fp32",
            on_event=lambda event: done.append(event.done),
        )  # fmt: skip
    finally:
        del loaded.classifier.forward
    assert sum(seen) == 1 + 3  # the beginning of the template, and three texts
    assert done[-1] == len(texts)
    assert np.array_equal(logits[0], logits[2])
    assert np.array_equal(logits[0], logits[3])
    assert not np.array_equal(logits[0], logits[1])


def test_a_fitted_classifier_keeps_its_template(tmp_path: Path) -> None:
    decoder = save_decoder(tmp_path / "decoder")
    texts, labels = [f"{w} film {n}" for n in range(20) for w in ("fine", "bad")], ["+", "-"] * 20
    classifier = TextClassifier(str(decoder), num_epochs=1, template=TEMPLATE, precision="fp32")
    classifier.fit(texts, labels)
    classifier.save_pretrained(tmp_path / "model")
    again = TextClassifier.from_pretrained(tmp_path / "model", precision="fp32")
    assert again.template == TEMPLATE
    assert np.array_equal(again.predict_proba(texts), classifier.predict_proba(texts))
    plain = TextClassifier.from_pretrained(tmp_path / "model", precision="fp32")
    tokenizer = plain.loaded_.tokenizer
    remove_frame(tokenizer, plain.loaded_.record.reading)
    record = replace(plain.loaded_.record, reading=plain_reading(tokenizer, 400))
    plain.loaded_ = replace(plain.loaded_, record=record)
    by_hand = plain.predict_proba([PROMPT + text for text in texts])
    assert np.abs(by_hand - classifier.predict_proba(texts)).max() <= 1e-5
    assert not np.allclose(plain.predict_proba(texts), by_hand)


def test_a_template_that_leaves_no_room_is_refused(tmp_path: Path) -> None:
    decoder = save_decoder(tmp_path / "decoder")
    classifier = TextClassifier(str(decoder), template=TEMPLATE, max_length=20)
    with pytest.raises(ConfigError, match="leaves no room for a text"):
        classifier.fit([f"text {n}" for n in range(40)], ["pos", "neg"] * 20)
