"""A classifier without our packing: padded rows in, logits out; what an export traces.

    input_ids (B, L), attention_mask (B, L) -> decoder -> hidden states (B, L, H)
        -> each row's last real token (B, H) -> logits (B, C)

Positions and the last token come from the mask, never from ids, so rows may be padded on either
side with any token. Every product with a weight has the form x W + b with W (in, out): of
`nn.Linear` and of GPT-2's `Conv1D` alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lasttoken.data.labels import LabelSpec
from lasttoken.errors import BackboneError
from lasttoken.model.backbone import load_hf_model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Families that were proved; of others, positions or attention may differ unseen.
PLAIN_FAMILIES = ("gpt2", "llama", "qwen3")

# They scale positions by the longest text of a batch: company would matter.
_ROPE_BY_BATCH = ("dynamic", "longrope")


class Product(nn.Module):
    """x W + b.

    Args:
        weight: (in, out).
        bias: (out,), or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
        kept = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.bias = kept

    def forward(self, rows: Tensor) -> Tensor:
        """Return (..., out) of rows (..., in)."""
        product = torch.matmul(rows, self.weight)
        return product if self.bias is None else product + self.bias


class PlainClassifier(nn.Module):
    """A stock decoder and its head over padded rows.

    Args:
        hf_model: as `backbone.load_hf_model` returns it, of one of `PLAIN_FAMILIES`; its products
            are replaced in place.
    """

    def __init__(self, hf_model: Any) -> None:  # noqa: ANN401 - a family's own class
        super().__init__()
        _replace_products(hf_model)
        self.decoder = hf_model.base_model
        self.score = hf_model.score

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits (B, C) fp32.

        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L) int64, 1 at the tokens of a text, which are contiguous, else 0.
        """
        position_ids = (attention_mask.cumsum(1) - 1).clamp(min=0)  # (B, L)
        steps = torch.arange(input_ids.shape[1], device=input_ids.device)
        is_before = steps[None, :] <= steps[:, None]  # (L, L)
        may_see = is_before[None, None] & attention_mask.bool()[:, None, None, :]  # (B, 1, L, L)
        bias = torch.where(may_see, 0.0, torch.finfo(torch.float32).min)
        states = self.decoder(
            input_ids=input_ids, attention_mask=bias, position_ids=position_ids, use_cache=False
        ).last_hidden_state  # (B, L, H)
        last = (attention_mask * steps).amax(1)  # (B,)
        pooled = states[torch.arange(states.shape[0], device=states.device), last]  # (B, H)
        logits: Tensor = self.score(pooled)
        return logits


def load_plain(folder: Path, labels: LabelSpec, *, pad_token_id: int) -> PlainClassifier:
    """Load a classifier in fp32 on the CPU, in evaluation mode.

    Args:
        folder: a model folder that was inspected.
        labels: of its head.
        pad_token_id: what its configuration says; nothing here depends on it.

    Raises:
        BackboneError: it cannot be loaded, or is of a family that was not proved.
    """
    model, _ = load_hf_model(folder, labels, pad_token_id=pad_token_id, seed=0)
    refuse_other_families(model.config, folder)
    return PlainClassifier(model).eval()


def refuse_other_families(config: PreTrainedConfig, folder: Path) -> None:
    """Refuse a model whose padded form was not proved to be the same.

    Raises:
        BackboneError: it is of another family, or of a form of one that differs.
    """
    rope: Any = getattr(config, "rope_parameters", None) or {}
    found = None
    if config.model_type not in PLAIN_FAMILIES:
        found = f"a model of the family {config.model_type}"
    elif "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        found = f"{config.model_type} with a sliding window"
    elif rope.get("rope_type") in _ROPE_BY_BATCH:
        found = f"{config.model_type} with positions of type {rope['rope_type']}"
    if found is not None:
        raise BackboneError(
            f"{folder}: {found}, which cannot be exported",
            expected="a plain model of one of the families " + ", ".join(PLAIN_FAMILIES),
            remedy="predict with the run itself: lasttoken predict RUN INPUT",
        )


def _replace_products(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, Conv1D):
            setattr(module, name, Product(child.weight, child.bias))
        elif isinstance(child, nn.Linear):
            setattr(module, name, Product(child.weight.t(), child.bias))
        else:
            _replace_products(child)
