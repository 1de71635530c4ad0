"""The equivalences as checks on one classifier; each raises AssertionError where it fails.

Kept apart from the tests, so that the tests can run every check on a sound classifier of every
family, and again on broken ones that it must find out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, pipeline

from families import END_OF_TEXT
from lasttoken.inference.prediction import predict_logits
from lasttoken.model.attention import PACKED_ATTENTION
from lasttoken.model.batch import Gpt2ClassificationCollator, pack_examples
from lasttoken.model.folder import (
    LoadedModel,
    ModelRecord,
    load_for_prediction,
    save_model_folder,
)
from lasttoken.model.reading import Reading
from lasttoken.model.tokens import tokenize
from lasttoken.training.loop import train

TEXTS = (
    "The pianist plays on while the city falls.",
    "no",
    "Two hours of my life that I will never get back, and then the sequel. " * 3,
    "w",
    "It ends as it begins" + END_OF_TEXT,
    "a quiet, moving film about nothing much",
    "bad bad bad bad bad bad bad bad bad bad bad bad",
    "A long one, whose attention takes the fused kernel. " * 8,
)
LABELS = ("bad", "good", "so-so")


def tolerance(logits: Tensor) -> float:
    """fp32 rounding: 1e-5 relative to the largest logit."""
    return 1e-5 * max(1.0, float(logits.abs().max()))


def classify(loaded: LoadedModel, texts: Sequence[str], layout: str = "packed") -> Tensor:
    """Logits (B, C) of one batch."""
    collator = collator_of(loaded, layout)
    with torch.no_grad():
        return loaded.classifier(**collator([as_example(loaded, text) for text in texts])).logits


def as_example(loaded: LoadedModel, text: str) -> dict[str, str]:
    """A text; where the model reads pairs, with itself backwards."""
    pair = {"text_pair": text[::-1]} if loaded.record.reading.has_pairs else {}
    return {"text": text, **pair}


def collator_of(loaded: LoadedModel, layout: str = "packed") -> Gpt2ClassificationCollator:
    """The collator that reads texts as the model does."""
    return Gpt2ClassificationCollator(
        loaded.tokenizer, loaded.classifier.labels, layout=layout, reading=loaded.record.reading
    )


def stock(loaded: LoadedModel, texts: Sequence[str], side: str) -> Tensor:
    """Logits of the family's own class with its own eager attention, padded on either side."""
    model = loaded.classifier.hf_model
    inputs = collator_of(loaded, "left")([as_example(loaded, text) for text in texts])
    owner = inputs.pop("owner", torch.arange(len(texts)))
    if side == "right":
        ids = [row[mask.bool()] for row, mask in zip(inputs["input_ids"], inputs["attention_mask"])]
        pad = loaded.tokenizer.pad_token_id
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=pad)
        mask = torch.arange(padded.shape[1])[None] < torch.tensor([len(i) for i in ids])[:, None]
        inputs = {"input_ids": padded, "attention_mask": mask.long()}
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            logits = model(**inputs).logits
            return torch.stack([logits[owner == row].mean(0) for row in range(len(texts))])
    finally:
        model.set_attn_implementation(PACKED_ATTENTION)


def packed_equals_alone_and_padded(loaded: LoadedModel) -> None:
    """Equivalence 1; bit for bit among our own layouts, fp32 rounding to the stock model."""
    packed = classify(loaded, TEXTS)
    alone = torch.cat([classify(loaded, [text]) for text in TEXTS])
    assert torch.equal(packed, alone)
    left = classify(loaded, TEXTS, layout="left")
    if len(loaded.record.reading.prompt):  # computed once a batch, so by another way
        assert (packed - left).abs().max() <= tolerance(packed)
    else:
        assert torch.equal(packed, left)
    for side in ("left", "right"):
        difference = (packed - stock(loaded, TEXTS, side)).abs().max()
        assert difference <= tolerance(packed), f"{difference} from stock padded on the {side}"


def neighbors_change_nothing(loaded: LoadedModel) -> None:
    """Equivalence 2: other neighbors, more of them, fewer, longer ones."""
    text = TEXTS[0]
    reference = classify(loaded, [TEXTS[1], text, TEXTS[2]])[1]
    crowds = (["other words"], [], ["x" * 300], ["p", "q"] * 20, [TEXTS[2]] * 3)
    for before, after in zip(crowds, crowds[2:] + crowds[:2]):
        logits = classify(loaded, [*before, text, *after])[len(before)]
        assert torch.equal(logits, reference), (len(before), len(after))


def order_is_kept(loaded: LoadedModel) -> None:
    """Equivalence 3."""
    logits = classify(loaded, TEXTS)
    for order in ([3, 1, 7, 4, 0, 6, 5, 2], [7, 6, 5, 4, 3, 2, 1, 0]):
        assert torch.equal(classify(loaded, [TEXTS[index] for index in order]), logits[order])


def gradients_add_up(loaded: LoadedModel) -> None:
    """Equivalence 4."""
    packed = _gradient_of(loaded, [TEXTS])
    singles = _gradient_of(loaded, [[text] for text in TEXTS])
    largest = max(float(gradient.abs().max()) for gradient in packed.values())
    for name, gradient in packed.items():
        assert (gradient - singles[name]).abs().max() <= 1e-5 * max(1.0, largest), name


def accumulated_batches_equal_a_large_one(loaded: LoadedModel) -> None:
    """Equivalence 5, through `train`: same mean loss, same step."""
    weights = {name: tensor.clone() for name, tensor in loaded.classifier.state_dict().items()}
    results = []
    for batch_size, accumulation in ((len(TEXTS), 1), (3, 3)):  # the last small batch holds two
        loaded.classifier.load_state_dict(weights)
        optimizer = torch.optim.SGD(loaded.classifier.parameters(), lr=0.01)
        result = train(
            loaded.classifier,
            _labeled_batches(loaded, batch_size),
            optimizer,
            torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0),
            "cpu",
            gradient_accumulation_steps=accumulation,
            max_grad_norm=1e9,
        )
        state = {name: t.clone() for name, t in loaded.classifier.state_dict().items()}
        results.append((result.loss, state))
    loaded.classifier.load_state_dict(weights)
    loaded.classifier.eval()
    (large_loss, large), (small_loss, small) = results
    assert abs(large_loss - small_loss) <= 1e-5 * max(1.0, large_loss)
    largest = max(float((large[name] - weights[name]).abs().max()) for name in weights)
    for name, tensor in large.items():
        assert (tensor - small[name]).abs().max() <= 1e-4 * largest, name


def saved_folder_is_the_same_classifier(loaded: LoadedModel, folder: Path) -> None:
    """Equivalence 8: our own loader, and plain transformers with its pipeline."""
    texts = [text for text in TEXTS if text]
    if loaded.record.reading.long in ("cut-middle", "windows"):  # else unknown to other programs
        texts = [text for text in texts if len(text) < 10]
    reading = loaded.record.reading
    save_model_folder(folder, loaded.classifier, loaded.tokenizer, ModelRecord(reading))
    logits = classify(loaded, texts)
    assert torch.equal(classify(load_for_prediction(folder), texts), logits)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    classifier = pipeline("text-classification", model=model, tokenizer=str(folder), device="cpu")
    probs = loaded.classifier.labels.probs(logits)
    inputs = [as_example(loaded, text) if reading.has_pairs else text for text in texts]
    for batch_size in (1, len(texts)):
        answers = classifier(inputs, top_k=None, batch_size=batch_size, truncation=True)
        for row, answer in zip(probs, answers):
            scores = {entry["label"]: entry["score"] for entry in answer}
            expected = dict(zip(loaded.classifier.labels.labels, row.tolist()))
            assert max(scores, key=scores.get) == max(expected, key=expected.get)
            for label, score in expected.items():
                assert abs(scores[label] - score) <= tolerance(logits)


def texts_are_read_at_their_true_end(loaded: LoadedModel) -> None:
    """Equivalence 10: end-of-text at the end, as text and as token; only it; nothing at all."""
    end = int(loaded.tokenizer.eos_token_id)
    sequences = [[72, 105, end], [end], [end, end, 72, end, end], [72, 105]]
    rows = [np.array(sequence, dtype=np.int32) for sequence in sequences]
    with torch.no_grad():
        logits = loaded.classifier(**pack_examples(rows).to_inputs()).logits
        for row, sequence in zip(logits, sequences):
            assert (row - _last_state_logits(loaded, sequence)).abs().max() <= tolerance(logits)
    assert not torch.equal(logits[0], logits[3])
    words = ["", END_OF_TEXT, "Hi" + END_OF_TEXT, "Hi"]
    tokenized = tokenize(loaded.tokenizer, words, Reading(400))
    assert min(tokenized.lengths) >= 1
    logits = predict_logits(
        loaded.classifier, tokenized, device=torch.device("cpu"), precision="fp32"
    )
    for index in range(len(words)):
        alone = _last_state_logits(loaded, tokenized[index].tolist())
        assert np.abs(logits[index] - alone.numpy()).max() <= tolerance(alone)
    assert not np.array_equal(logits[2], logits[3])
    assert end not in tokenized[1].tolist()


def _last_state_logits(loaded: LoadedModel, sequence: list[int]) -> Tensor:
    """Logits of one sequence by the family's own code, read at its last token by hand."""
    model = loaded.classifier.hf_model
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            ids = torch.tensor([sequence])
            hidden = model.base_model(ids, attention_mask=torch.ones_like(ids), use_cache=False)
            return model.score(hidden.last_hidden_state[0, len(sequence) - 1])
    finally:
        model.set_attn_implementation(PACKED_ATTENTION)


def _labeled_batches(loaded: LoadedModel, batch_size: int) -> list[dict[str, Tensor]]:
    collator = collator_of(loaded)
    examples = [
        {**as_example(loaded, text), "label": LABELS[index % len(LABELS)]}
        for index, text in enumerate(TEXTS)
    ]
    return [
        collator(examples[start : start + batch_size])
        for start in range(0, len(examples), batch_size)
    ]


def _gradient_of(loaded: LoadedModel, batches: Sequence[Sequence[str]]) -> dict[str, Tensor]:
    collator = collator_of(loaded)
    label_of = {text: LABELS[index % len(LABELS)] for index, text in enumerate(TEXTS)}
    loaded.classifier.zero_grad()
    for texts in batches:
        inputs = collator([{**as_example(loaded, text), "label": label_of[text]} for text in texts])
        (loaded.classifier(**inputs).loss * len(texts)).backward()
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in loaded.classifier.named_parameters()
        if parameter.grad is not None
    }
    loaded.classifier.zero_grad()
    return gradients
