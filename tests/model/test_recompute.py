"""Blocks that are computed anew in the backward pass: the same numbers from less memory."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from equivalences import LABELS, TEXTS, classify

from families import FAMILIES, save_decoder
from lasttoken.data.labels import LabelSpec
from lasttoken.model.batch import Gpt2ClassificationCollator
from lasttoken.model.blocks import find_blocks
from lasttoken.model.folder import LoadedModel, load_for_training
from lasttoken.model.recompute import recomputed_blocks


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """With dropout where the family has it."""
    folder = save_decoder(tmp_path_factory.mktemp("decoder") / "model", request.param)
    return load_for_training(folder, LabelSpec(LABELS), seed=1)


def backward(loaded: LoadedModel) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients of one batch in training mode, and the bytes that were kept for them."""
    collator = Gpt2ClassificationCollator(loaded.tokenizer, loaded.classifier.labels, 400)
    batch = collator([{"text": text, "label": LABELS[0]} for text in TEXTS])
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    classifier = loaded.classifier.train()
    classifier.zero_grad()
    torch.manual_seed(7)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = classifier(**batch).loss
        num_bytes = sum(kept.values())
        loss.backward()
    grads = {n: p.grad.clone() for n, p in classifier.named_parameters() if p.grad is not None}
    classifier.eval()
    return grads, num_bytes


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_are_the_same_to_the_last_bit_and_take_less_memory(
    loaded: LoadedModel, precision: str
) -> None:
    bf16 = torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16" else nullcontext()
    with bf16:
        plain, plain_bytes = backward(loaded)
        with recomputed_blocks(loaded.classifier.hf_model):
            anew, anew_bytes = backward(loaded)
    assert plain.keys() == anew.keys()
    assert all(torch.equal(plain[name], anew[name]) for name in plain)
    assert anew_bytes < plain_bytes / 2


def test_prediction_is_as_ever(loaded: LoadedModel) -> None:
    before = classify(loaded, TEXTS)
    with recomputed_blocks(loaded.classifier.hf_model), torch.inference_mode():
        assert torch.equal(classify(loaded, TEXTS), before)


def test_every_block_has_its_own_forward_again(tmp_path: Path) -> None:
    loaded = load_for_training(save_decoder(tmp_path / "m"), LabelSpec(LABELS), seed=1)
    blocks = find_blocks(loaded.classifier.hf_model)
    before = [block.forward for block in blocks]
    with recomputed_blocks(loaded.classifier.hf_model):
        assert all(block.forward not in before for block in blocks)
    assert [block.forward for block in blocks] == before
