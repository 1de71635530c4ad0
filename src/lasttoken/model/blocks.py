"""The blocks of a decoder: where every family keeps them, how to keep fewer, how to go round them.

    embeddings -> block 1 -> block 2 ... -> block n -> final norm -> head

Depth N means the first N blocks. A model that is cut there is a smaller one of the same family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from lasttoken.errors import BackboneError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Forward = Callable[..., Any]


def find_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """Return the list of blocks that `model` runs one after the other.

    Found by its shape, not by its name (`h`, `layers` ...): the one list of the backbone that has
    as many entries, all of one class, as the configuration has blocks.

    Raises:
        BackboneError: there is no such list, or more than one.
    """
    config: Any = model.config.get_text_config()
    backbone: Any = model.base_model
    found: list[nn.ModuleList] = []
    for module in backbone.modules():  # from the outside in
        if (
            isinstance(module, nn.ModuleList)
            and len(module) == config.num_hidden_layers
            and len({type(block) for block in module}) == 1
            and any(True for _ in module.parameters())
            # A block of a cut model may hold as many experts as there are blocks.
            and not any(module is inner for blocks in found for inner in blocks.modules())
        ):
            found.append(module)
    if len(found) != 1:
        raise BackboneError(
            f"model type {config.model_type!r}: {len(found)} lists of {config.num_hidden_layers} "
            "blocks",
            expected="one list of blocks, as decoders have",
            remedy="--model smollm2, gpt2, or another family",
        )
    return found[0]


def cut_blocks(model: PreTrainedModel, depth: int) -> None:
    """Keep the first `depth` blocks, in place; the configuration describes the rest no more.

    Args:
        model: of n blocks.
        depth: 1 to n.

    Raises:
        BackboneError: the family's configuration cannot describe fewer blocks.
    """
    blocks = find_blocks(model)
    config: Any = model.config.get_text_config()
    num_blocks = len(blocks)
    if depth == num_blocks:
        return
    before = config.to_dict()
    # Lists with an entry a block, such as `layer_types`, come first: they are checked together.
    for name, value in before.items():
        if "layer" in name and isinstance(value, list) and len(value) == num_blocks:
            setattr(config, name, value[:depth])
    config.num_hidden_layers = depth  # the family's own name for it follows by its attribute map
    try:
        written = type(config).from_dict(config.to_dict())
        described = int(written.num_hidden_layers)
    except (ValueError, TypeError, KeyError) as error:
        raise _cannot_be_cut(config.model_type, depth, str(error).splitlines()[0]) from error
    if described != depth:
        raise _cannot_be_cut(config.model_type, depth, f"it still describes {described} blocks")
    del blocks[depth:]


@contextmanager
def replaced_forwards(
    blocks: Sequence[nn.Module], make: Callable[[Forward], Forward]
) -> Iterator[None]:
    """Give blocks another `forward` for a while; what stood there before comes back.

    Args:
        blocks: their weights, names and hooks stay as they are.
        make: takes a block's present `forward`, which may be another's replacement, and returns
            the new one.
    """
    own = [block.__dict__.get("forward") for block in blocks]
    try:
        for block in blocks:
            block.forward = make(block.forward)
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            if forward is None:
                block.__dict__.pop("forward", None)  # the class's own again
            else:
                block.forward = forward


def _cannot_be_cut(model_type: str, depth: int, reason: str) -> BackboneError:
    return BackboneError(
        f"--depth {depth}: the configuration of model type {model_type!r} cannot describe it: "
        f"{reason}",
        expected="a family whose configuration counts its blocks",
        remedy="leave --depth out, or choose another --model",
    )
