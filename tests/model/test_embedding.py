"""Training the embeddings of seen tokens alone changes nothing but the time it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from equivalences import LABELS, TEXTS, _gradient_of, _labeled_batches, classify, tolerance
from test_equivalences import load

from families import FAMILIES, save_decoder
from lasttoken.model.batch import FILLER_TOKEN
from lasttoken.model.embedding import SeenEmbedding, seen_tokens_only
from lasttoken.model.folder import LoadedModel
from lasttoken.model.reading import Reading
from lasttoken.model.tokens import tokenize
from lasttoken.training.loop import train
from lasttoken.training.optim import make_optimizer, make_schedule


@pytest.fixture(params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> LoadedModel:
    return load(tmp_path / "model", request.param)


def seen_in(loaded: LoadedModel) -> np.ndarray:
    token_ids = tokenize(loaded.tokenizer, TEXTS, Reading(400)).token_ids
    return np.append(token_ids, FILLER_TOKEN)


def test_logits_are_the_same_to_the_bit(loaded: LoadedModel) -> None:
    before = classify(loaded, TEXTS)
    with seen_tokens_only(loaded.classifier.hf_model, seen_in(loaded)):
        table = loaded.classifier.hf_model.get_input_embeddings()
        assert isinstance(table, SeenEmbedding)
        assert len(table.weight) == len(np.unique(seen_in(loaded))) < 260
        assert torch.equal(classify(loaded, TEXTS), before)
    assert torch.equal(classify(loaded, TEXTS), before)


def test_other_gradients_are_the_same(loaded: LoadedModel) -> None:
    whole = _gradient_of(loaded, [TEXTS])
    with seen_tokens_only(loaded.classifier.hf_model, seen_in(loaded)):
        small = _gradient_of(loaded, [TEXTS])
    (table,) = small.keys() - whole.keys()
    (whole_table,) = whole.keys() - small.keys()
    for name in small.keys() & whole.keys():
        assert (small[name] - whole[name]).abs().max() <= tolerance(whole[name]), name
    rows, gradient = np.unique(seen_in(loaded)), whole[whole_table]
    assert (small[table] - gradient[rows]).abs().max() <= tolerance(gradient)
    gradient[rows] = 0
    assert not gradient.any()


def test_two_epochs_of_training_give_the_same_weights(tmp_path: Path) -> None:
    weights = []
    for is_small in (False, True):
        loaded = load(tmp_path / str(is_small), "gpt2")
        untouched = loaded.classifier.hf_model.get_input_embeddings().weight.detach().clone()
        seen = seen_in(loaded) if is_small else np.arange(260)
        with seen_tokens_only(loaded.classifier.hf_model, seen):
            optimizer = make_optimizer(loaded.classifier, learning_rate=1e-3, weight_decay=0.0)
            schedule = make_schedule(optimizer, num_steps=6)
            for _ in range(2):
                train(loaded.classifier, _labeled_batches(loaded, 3), optimizer, schedule, "cpu")
        weights.append(loaded.classifier.state_dict())
        table = loaded.classifier.hf_model.get_input_embeddings().weight
        unseen = np.setdiff1d(np.arange(260), seen_in(loaded))
        assert torch.equal(table[unseen], untouched[unseen])
        assert not torch.equal(table, untouched)
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        other = weights[1][name]
        if name.endswith("c_attn.bias"):
            # A bias of the keys changes no attention: its gradient is rounding, enlarged by Adam.
            queries, _, values = tensor.chunk(3)
            other_queries, _, other_values = other.chunk(3)
            tensor, other = torch.cat([queries, values]), torch.cat([other_queries, other_values])
        assert (tensor - other).abs().max() <= 1e-5, name


def test_a_token_that_was_not_announced_is_an_error(tmp_path: Path) -> None:
    loaded = load(tmp_path / "model", "llama")
    with (
        seen_tokens_only(loaded.classifier.hf_model, np.array([FILLER_TOKEN, 65])),
        pytest.raises(IndexError),
    ):
        classify(loaded, ["AAB"])
    classify(loaded, ["AAB"])  # the whole table is back after the error


def test_the_row_of_the_padding_token_stays_without_gradient(tmp_path: Path) -> None:
    loaded = load(tmp_path / "model", "llama")
    model = loaded.classifier.hf_model
    pad = model.get_input_embeddings().padding_idx
    assert pad is not None
    with seen_tokens_only(model, np.array([FILLER_TOKEN, 65, pad])):
        table = model.get_input_embeddings()
        table(torch.tensor([65, pad])).sum().backward()
        assert [bool(row.any()) for row in table.weight.grad] == [False, True, False]


def test_a_table_that_does_not_train_is_left_alone(tmp_path: Path) -> None:
    loaded = load(save_decoder(tmp_path / "decoder").parent / "model", "gpt2")
    table = loaded.classifier.hf_model.get_input_embeddings().requires_grad_(False)
    with seen_tokens_only(loaded.classifier.hf_model, np.array([FILLER_TOKEN])):
        assert loaded.classifier.hf_model.get_input_embeddings() is table
    assert loaded.classifier.labels.labels == LABELS
