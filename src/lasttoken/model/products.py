"""Products with weight matrices on a CPU, while no gradients are asked for.

A `Product` stands in for the `forward` of each `nn.Linear` (and of `Conv1D`, GPT-2's transposed
form) of a backbone. It multiplies by a copy of the weight in the layout that oneDNN's kernels
read, cast to the precision asked for; the copy is made at the first call, and again when the
weight has changed. In fp32 the bits of a row do not depend on how many rows there are, which a
plain matrix product does not promise. With gradients, or on another device, it is the module's own
forward.

The layout is private to torch, so it is tried out once, and not used where it fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

# The layout is chosen for this many rows; any number may come.
_TYPICAL_ROWS = 512


class Product:
    """Stands in for a module's `forward`, on this instance only.

    Args:
        module: an `nn.Linear` or a `Conv1D`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module: Any = module
        self._plain: Callable[[Tensor], Tensor] = module.forward
        self._is_transposed = isinstance(module, Conv1D)  # weight (in, out) instead of (out, in)
        self._packed: Tensor | None = None
        self._packed_of: tuple[int, int, torch.dtype] | None = None

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return (..., out) for inputs (..., in)."""
        if torch.is_grad_enabled() or inputs.device.type != "cpu" or not kernels_can_be_fed():
            return self._plain(inputs)
        weight, bias = self._module.weight, self._module.bias
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else weight.dtype
        rows = inputs.reshape(-1, inputs.shape[-1]).to(dtype)
        bias = bias if bias is None else bias.to(dtype)
        product = _linear(rows, self._pack(weight, dtype), bias)
        return product.view(*inputs.shape[:-1], -1)

    def release(self) -> None:
        """Give up the copy of the weight."""
        self._packed = self._packed_of = None

    def _pack(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the weight in the kernel's layout, made anew if the weight is another one."""
        version = (weight.data_ptr(), weight._version, dtype)
        if self._packed is None or self._packed_of != version:
            self._packed = _reorder(weight.t() if self._is_transposed else weight, dtype)
            self._packed_of = version
        return self._packed


def install(blocks: nn.Module) -> None:
    """Let products stand in for every matrix of these blocks that computes as a plain one does."""
    for module in blocks.modules():
        is_plain = type(module) in (nn.Linear, Conv1D) and "forward" not in module.__dict__
        if is_plain and not module._forward_hooks and not module._forward_pre_hooks:
            module.forward = Product(module)  # type: ignore[method-assign, assignment]


def release(blocks: nn.Module) -> None:
    """Give up all copies of weights in the kernels' layout."""
    for product in _products(blocks):
        product.release()


def _products(blocks: nn.Module) -> Iterator[Product]:
    for module in blocks.modules():
        if isinstance(module.forward, Product):
            yield module.forward


@lru_cache(maxsize=1)
def kernels_can_be_fed() -> bool:
    """Return whether this torch multiplies by reordered weights, and rightly; tried out once."""
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    rows, weight = (torch.randn(shape, generator=generator) for shape in ((16, 32), (48, 32)))
    bias = torch.ones(48)
    try:
        with torch.no_grad():
            found = _linear(rows, _reorder(weight, torch.float32), bias)
    except (AttributeError, RuntimeError, NotImplementedError):  # another version of torch
        return False
    return torch.allclose(found, nn.functional.linear(rows, weight, bias), atol=1e-4)


def _reorder(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a weight (out, in) in the layout that oneDNN's kernels read."""
    plain = weight.detach().to(dtype).contiguous()
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(plain, _TYPICAL_ROWS)
    return packed


def _linear(rows: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """Return (T, out) for rows (T, in) and a reordered weight."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    return product
