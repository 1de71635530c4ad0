"""Low-rank adapters: beside every matrix of the blocks a narrow pair of them learns, and the head.

    W x                       the block's own product, frozen
    B (A x) x alpha / rank    the adapter: A (rank, in) drawn, B (out, rank) zero at the start

peft puts them in and merges them; what they learned ends as plain weights of the family, W + B A.

Source:
    Hu et al. (arXiv 2106.09685). All matrices of the blocks, not attention's alone: Dettmers et al.
    (arXiv 2305.14314, section 4) found that to be what reaches full training.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lasttoken.errors import BackboneError
from lasttoken.model import dropout, products
from lasttoken.model.blocks import find_blocks

if TYPE_CHECKING:
    from peft import LoraConfig, LoraModel
    from transformers import PreTrainedModel

    from lasttoken.model.classifier import Classifier


@dataclass(frozen=True)
class LoraShape:
    """The form of the adapters.

    Attributes:
        rank: of each, columns of B.
        alpha: the adapter's product is multiplied by alpha / rank.
        dropout: probability of dropping an element of an adapter's input while training.
    """

    rank: int
    alpha: float
    dropout: float


@dataclass(frozen=True)
class Adapter:
    """What adapters learned, apart from the weights that they were merged into.

    Attributes:
        shape: their form.
        weights: by the names that peft gives them in its files, on the CPU.
        matrices: which modules they stand beside, a pattern of full names.
        is_transposed: whether those keep their weight as `Conv1D` does.
    """

    shape: LoraShape
    weights: Mapping[str, Tensor]
    matrices: str
    is_transposed: bool


class Adapters:
    """Adapters in a classifier, until they are merged.

    Args:
        tuner: peft's, which put them in.
        shape: their form.
    """

    def __init__(self, tuner: LoraModel, shape: LoraShape) -> None:
        self._tuner = tuner
        self._model: Any = tuner.model
        self._shape = shape
        self.is_out = False

    def merge(self) -> Adapter:
        """Add what the adapters learned to the weights beside them, and take the adapters out."""
        from peft import get_peft_model_state_dict

        config: Any = self._model.peft_config["default"]
        weights = get_peft_model_state_dict(self._model, save_embedding_layers=False)
        adapter = Adapter(
            self._shape,
            {name: weight.detach().cpu().clone() for name, weight in weights.items()},
            str(config.target_modules),
            bool(config.fan_in_fan_out),
        )
        self.take_out(merge=True)
        return adapter

    def take_out(self, *, merge: bool) -> None:
        """Give every matrix its own place back."""
        backbone = self._model.base_model
        products.remove(backbone)
        if merge:
            self._tuner.merge_and_unload()
        else:
            self._tuner.unload()
        products.install(backbone)
        self.is_out = True


@contextmanager
def adapters_learn(classifier: Classifier, shape: LoraShape, *, seed: int) -> Iterator[Adapters]:
    """Let adapters and the head learn, and nothing else.

    Args:
        classifier: at the end it is as it was, but for the weights that learned: the head, and
            the blocks' if `Adapters.merge` was called.
        shape: of the adapters.
        seed: A is drawn with it.

    Raises:
        BackboneError: the blocks hold no plain matrix.
    """
    from peft import LoraModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    model = classifier.hf_model
    head: Any = model.score
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    config = _config(shape, *_matrices_of(model))
    products.remove(model.base_model)  # an activation must come behind the adapter's product
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapters = Adapters(LoraModel(model, config, "default"), shape)
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            layer: Any = module
            layer.cast_input_dtype_enabled = False  # products cast for themselves, once
    products.install(model.base_model)
    dropout.install(model)
    head.weight.requires_grad_(True)
    try:
        yield adapters
    finally:
        if not adapters.is_out:
            adapters.take_out(merge=False)
        for parameter in learned:
            parameter.requires_grad_(True)


def num_learning_weights(classifier: Classifier, rank: int) -> int:
    """Return how many weights learn with adapters of a rank: theirs and the head's."""
    head: Any = classifier.hf_model.score
    adapters = (rank * sum(matrix.weight.shape) for matrix in _matrices(classifier.hf_model))
    return int(sum(adapters) + head.weight.numel())


def adapter_config(adapter: Adapter, base: str) -> LoraConfig:
    """Return peft's configuration of an adapter that is saved together with the head."""
    config = _config(adapter.shape, adapter.matrices, adapter.is_transposed)
    config.task_type, config.modules_to_save = "SEQ_CLS", ["score"]
    config.base_model_name_or_path, config.inference_mode = base, True
    return config


def _config(shape: LoraShape, matrices: str, is_transposed: bool) -> LoraConfig:
    from peft import LoraConfig

    return LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,  # type: ignore[arg-type]  # only ever divided by the rank
        lora_dropout=shape.dropout,
        target_modules=matrices,
        fan_in_fan_out=is_transposed,
        bias="none",
    )


def _matrices(model: PreTrainedModel) -> list[Any]:
    blocks = find_blocks(model)
    return [module for module in blocks.modules() if type(module) in (nn.Linear, Conv1D)]


def _matrices_of(model: PreTrainedModel) -> tuple[str, bool]:
    """Return a pattern of the full names of the blocks' matrices, and whether they are transposed.

    Raises:
        BackboneError: there is none, or some are transposed and others not.
    """
    matrices = _matrices(model)
    kinds = {type(matrix) for matrix in matrices}
    if len(kinds) != 1:
        config: Any = model.config
        raise BackboneError(
            f"--trainable lora: the blocks of model type {config.model_type!r} hold "
            + ("matrices of two forms" if kinds else "no plain matrix"),
            expected="a decoder whose blocks are made of linear layers",
            remedy="--trainable full, or last-K",
        )
    blocks = find_blocks(model)
    prefix = next(name for name, module in model.named_modules() if module is blocks)
    names = {
        name
        for block in blocks
        for name, module in block.named_modules()
        if type(module) in (nn.Linear, Conv1D)
    }
    alternatives = "|".join(re.escape(name) for name in sorted(names))
    return rf"{re.escape(prefix)}\.[0-9]+\.({alternatives})", kinds == {Conv1D}
