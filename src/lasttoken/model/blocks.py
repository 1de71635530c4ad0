"""The blocks of a decoder: where every family keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from lasttoken.errors import BackboneError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def find_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """Return the list of blocks that `model` runs one after the other.

    Found by its shape, not by its name (`h`, `layers` ...): the one list of the backbone that has
    as many entries, all of one class, as the configuration has blocks.

    Raises:
        BackboneError: there is no such list, or more than one.
    """
    config: Any = model.config.get_text_config()
    backbone: Any = model.base_model
    found = [
        module
        for module in backbone.modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == config.num_hidden_layers
        and len({type(block) for block in module}) == 1
        and any(True for _ in module.parameters())
    ]
    if len(found) != 1:
        raise BackboneError(
            f"model type {config.model_type!r}: {len(found)} lists of {config.num_hidden_layers} "
            "blocks",
            expected="one list of blocks, as decoders have",
            remedy="--model smollm2, gpt2, or another family",
        )
    return found[0]
