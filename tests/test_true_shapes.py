"""GPT-2's true architectures, with random weights: packed, and equal to the stock model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

from families import byte_tokenizer
from lasttoken.data.labels import LabelSpec
from lasttoken.model.batch import Gpt2ClassificationCollator
from lasttoken.model.folder import load_for_training

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SHAPES = {
    "distilgpt2": {"n_layer": 6},
    "gpt2": {"n_layer": 12},
    "gpt2-medium": {"n_layer": 24, "n_embd": 1024, "n_head": 16},
}
TEXTS = ["A moving story.", "no", "Two hours of my life that I will never get back. " * 6, ""]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_true_shape_is_read_packed_and_equals_the_stock_model(tmp_path: Path, shape: str) -> None:
    torch.manual_seed(0)
    config = GPT2Config(num_labels=2, pad_token_id=256, **SHAPES[shape])
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    loaded = load_for_training(tmp_path, LabelSpec(("a", "b")), seed=1)
    assert loaded.classifier.proof.path == "packed"
    examples = [{"text": text} for text in TEXTS]
    packed = Gpt2ClassificationCollator(loaded.tokenizer, {}, 1024)
    left = Gpt2ClassificationCollator(loaded.tokenizer, {}, 1024, layout="left")
    with torch.no_grad():
        together = loaded.classifier(**packed(examples)).logits
        alone = torch.cat([loaded.classifier(**packed([one])).logits for one in examples])
        loaded.classifier.hf_model.set_attn_implementation("eager")
        # The empty text is one end-of-text token, which the stock head takes for padding.
        stock = loaded.classifier.hf_model(**left(examples[:3])).logits
    assert torch.equal(together, alone)
    assert (together[:3] - stock).abs().max() <= 1e-5 * max(1.0, float(together.abs().max()))
