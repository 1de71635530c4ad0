"""Words for labels: the rows of the language-model head from which a classifier may start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from families import save_decoder
from lasttoken import TextClassifier
from lasttoken.data.labels import LabelSpec
from lasttoken.events import Event, Note
from lasttoken.model.folder import load_for_training
from lasttoken.model.label_words import label_word_rows

LABELS = LabelSpec(("no", "yes"))
TOLD = Note("the head may start near what the language model says of the labels' names")


@pytest.mark.parametrize(
    ("family", "changes"),
    [("gpt2", {}), ("llama", {"tie_word_embeddings": False}), ("gpt_neox", {})],
)
@pytest.mark.parametrize("behind", [" This is", " This is:\n"])
def test_rows_give_the_language_models_own_logits_of_the_words(
    tmp_path: Path, family: str, changes: dict[str, bool], behind: str
) -> None:
    folder = save_decoder(tmp_path / "model", family, **changes)
    loaded = load_for_training(folder, LABELS, seed=0)
    model = loaded.classifier.hf_model
    rows = label_word_rows(folder, model, loaded.tokenizer, LABELS.labels, behind=behind)
    whole = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    space = "" if behind.endswith("\n") else " "
    ids, (prompt,) = (
        [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        for texts in ([space + label for label in LABELS.labels], ["A text." + behind])
    )
    with torch.no_grad():
        output = whole(torch.tensor([prompt]), output_hidden_states=True)
    expected = output.logits[0, -1, [word[0] for word in ids]].numpy()
    found = output.hidden_states[-1][0, -1].numpy() @ rows.T
    assert np.allclose(found, expected, atol=1e-5)


def test_a_decoder_without_a_language_model_head_gives_no_rows(tmp_path: Path) -> None:
    save_decoder(tmp_path / "whole", "llama", tie_word_embeddings=False)
    AutoModel.from_pretrained(tmp_path / "whole").save_pretrained(tmp_path / "bare")
    AutoTokenizer.from_pretrained(tmp_path / "whole").save_pretrained(tmp_path / "bare")
    loaded = load_for_training(tmp_path / "bare", LABELS, seed=0)
    model = loaded.classifier.hf_model
    words = LABELS.labels
    assert label_word_rows(tmp_path / "bare", model, loaded.tokenizer, words, behind=" is") is None


def test_a_template_that_asks_for_a_label_tells_that_words_may_be_used(tmp_path: Path) -> None:
    folder = str(save_decoder(tmp_path / "model"))
    settings = {"num_epochs": 1, "learning_rate": 1e-12, "precision": "fp32"}

    def told(**more: object) -> bool:
        events: list[Event] = []
        texts = [f"a {word} film, {n}" for n in range(20) for word in ("wonderful", "dreadful")]
        labels = ["yes", "no"] * 20
        TextClassifier(folder, **settings, **more).fit(texts, labels, on_event=events.append)
        return TOLD in events

    assert told(template="{text} Good?\n")
    assert not told(template="{text} Good?")  # both words begin with the token of a space
    assert not told(template="Read: {text}")
    assert not told()
    assert not told(template="{text} Good?\n", depth=1)
    assert not told(template="{text} Good?\n", trainable="probe")


def test_a_word_is_read_behind_the_template_and_not_as_the_beginning_of_a_text(
    tmp_path: Path,
) -> None:
    """Tokenizers such as Llama 2's begin every text with a space, a token if there is another."""
    folder = save_decoder(tmp_path / "model", "llama")
    loaded = load_for_training(folder, LABELS, seed=0)
    vocabulary = {character: number for number, character in enumerate("\u2581aegiknosy")}
    merges = []
    for word in ("\u2581is", "\u2581no", "\u2581yes"):
        for end in range(1, len(word)):
            merges.append((word[:end], word[end]))
            vocabulary.setdefault(word[: end + 1], len(vocabulary))
    backend = Tokenizer(models.BPE(vocabulary, list(dict.fromkeys(merges))))
    spaces = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    backend.normalizer = normalizers.Sequence(spaces)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    model = loaded.classifier.hf_model
    weight = AutoModelForCausalLM.from_pretrained(folder).get_output_embeddings().weight
    rows = label_word_rows(folder, model, tokenizer, LABELS.labels, behind=" is")
    expected = weight[[vocabulary["\u2581no"], vocabulary["\u2581yes"]]].detach().numpy()
    assert rows is not None
    assert np.array_equal(rows, expected)
