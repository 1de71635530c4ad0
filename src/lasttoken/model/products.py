"""Products with weight matrices on a CPU: the same numbers from better-fed kernels.

A `Product` stands in for the `forward` of each `nn.Linear` (and of `Conv1D`, GPT-2's transposed
form) of a backbone. While no gradients are asked for, it multiplies by a copy of the weight in the
layout that oneDNN's kernels read, cast to the precision asked for; the copy is made at the first
call, and again when the weight has changed. In fp32 the bits of a row do not depend on how many
rows there are, which a plain matrix product does not promise. With gradients, bf16 products are
multiplied in parts (`bf16_product`); fp32 ones, and all on another device, are the module's own.

The activation that follows a product in some families is computed by the same kernel, before the
product is rounded and written.

The layout is private to torch, so it is tried out once, and not used where it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import GELUActivation, GELUTanh, SiLUActivation
from transformers.pytorch_utils import Conv1D

from lasttoken.model.bf16 import bf16_product

# The layout is chosen for this many rows; any number may come.
_TYPICAL_ROWS = 512
_SAMPLED = 16  # elements of a weight that are compared to notice a change

_NO_ACTIVATION = ("none", "")

# What oneDNN calls an activation, and its variant.
_ONEDNN_NAMES: dict[type[nn.Module], tuple[str, str]] = {
    GELUActivation: ("gelu", "none"),
    GELUTanh: ("gelu", "tanh"),
    SiLUActivation: ("swish", ""),
}

# Of a class of module: a product, and the activation that it alone goes into.
_ACTIVATED = {
    "GPT2MLP": ("c_fc", "act"),
    "GPTNeoXMLP": ("dense_h_to_4h", "act"),
    "LlamaMLP": ("gate_proj", "act_fn"),
    "MistralMLP": ("gate_proj", "act_fn"),
    "Qwen2MLP": ("gate_proj", "act_fn"),
    "Qwen3MLP": ("gate_proj", "act_fn"),
    "Gemma2MLP": ("gate_proj", "act_fn"),
    "Gemma3MLP": ("gate_proj", "act_fn"),
}


class Product:
    """Stands in for a module's `forward`, on this instance only.

    Args:
        module: an `nn.Linear` or a `Conv1D`.
        activation: to apply to the product: oneDNN's name and variant.
    """

    def __init__(self, module: nn.Module, activation: tuple[str, str] = _NO_ACTIVATION) -> None:
        self._module: Any = module
        self._activation = activation
        self._plain: Callable[[Tensor], Tensor] = module.forward
        self._is_transposed = isinstance(module, Conv1D)  # weight (in, out) instead of (out, in)
        self._packed: Tensor | None = None
        self._packed_of: _Seen | None = None

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return (..., out) for inputs (..., in)."""
        weight, bias = self._module.weight, self._module.bias
        is_bf16 = torch.is_autocast_enabled("cpu")
        if not _is_fed(inputs):
            if is_bf16 and torch.is_grad_enabled() and inputs.device.type == "cpu":
                return bf16_product(inputs, weight, bias, is_transposed=self._is_transposed)
            return self._plain(inputs)
        dtype = torch.bfloat16 if is_bf16 else weight.dtype
        rows = inputs.reshape(-1, inputs.shape[-1]).to(dtype)
        # A bias stays fp32: the kernel adds it before it rounds.
        product = _linear(rows, self._pack(weight, dtype), bias, self._activation)
        return product.view(*inputs.shape[:-1], -1)

    def release(self) -> None:
        """Give up the copy of the weight."""
        self._packed = self._packed_of = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the copy behind when pickled or deeply copied: its layout can be neither."""
        return {**self.__dict__, "_packed": None, "_packed_of": None}

    def _pack(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the weight in the kernel's layout, made anew if the weight is another one."""
        if (
            self._packed is None
            or self._packed_of is None
            or not self._packed_of.is_of(weight, dtype)
        ):
            self._packed = _reorder(weight.t() if self._is_transposed else weight, dtype)
            self._packed_of = _Seen(weight, dtype)
        return self._packed


class _Seen:
    """What a weight looked like when it was copied, to find out cheaply whether it has changed.

    torch counts most changes, but neither those of a fused optimizer nor those through `.data`.
    These touch the whole weight, so a few of its elements tell.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        self._where = (weight.data_ptr(), weight._version, dtype)
        self._looked_at = _sample(weight)  # shares the weight's memory
        self._sample = self._looked_at.clone()

    def is_of(self, weight: Tensor, dtype: torch.dtype) -> bool:
        """Return whether the weight, cast to `dtype`, is still what was copied."""
        is_same = self._where == (weight.data_ptr(), weight._version, dtype)
        return is_same and torch.equal(self._looked_at, self._sample)


def _sample(weight: Tensor) -> Tensor:
    """Return about 16 elements spread over a weight."""
    flat = weight.detach().view(-1)
    return flat[:: max(1, len(flat) // _SAMPLED)]


class Activation:
    """Stands in for an activation's `forward`: a fed product before it has applied it already.

    Args:
        module: whose forward is replaced, on this instance only.
    """

    def __init__(self, module: nn.Module) -> None:
        self._plain: Callable[[Tensor], Tensor] = module.forward

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the activation of inputs, of any shape."""
        return inputs if _is_fed(inputs) else self._plain(inputs)


def install(backbone: nn.Module) -> None:
    """Let products stand in for every matrix of a backbone that is multiplied as plain ones are."""
    for module in backbone.modules():
        product_name, activation_name = _ACTIVATED.get(type(module).__name__, ("", ""))
        activation: Any = getattr(module, activation_name, None)
        product: Any = getattr(module, product_name, None)
        name = _onednn_name(activation)
        if name != _NO_ACTIVATION and product is not None and _is_plain(product):
            product.forward = Product(product, name)
            activation.forward = Activation(activation)
    for module in backbone.modules():
        if _is_plain(module):
            module.forward = Product(module)


def remove(backbone: nn.Module) -> None:
    """Give every matrix and activation its own forward back."""
    for module in backbone.modules():
        if isinstance(module.__dict__.get("forward"), Product | Activation):
            del module.forward


def release(backbone: nn.Module) -> None:
    """Give up all copies of weights in the kernels' layout."""
    for module in backbone.modules():
        if isinstance(module.forward, Product):
            module.forward.release()


@lru_cache(maxsize=1)
def kernels_can_be_fed() -> bool:
    """Return whether this torch multiplies by reordered weights, and rightly; tried out once."""
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    rows, weight = (torch.randn(shape, generator=generator) for shape in ((16, 32), (48, 32)))
    bias = torch.ones(48)
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            found = _linear(rows, _reorder(weight, torch.float32), bias, ("gelu", "tanh"))
            product = nn.functional.linear(rows, weight, bias)
            expected = nn.functional.gelu(product, approximate="tanh")
    except (AttributeError, RuntimeError, NotImplementedError):  # another version of torch
        return False
    return torch.allclose(found, expected, atol=1e-4)


def _is_fed(inputs: Tensor) -> bool:
    return not torch.is_grad_enabled() and inputs.device.type == "cpu" and kernels_can_be_fed()


def _is_plain(module: nn.Module) -> bool:
    """Return whether a module is a matrix product and nothing else, with its own forward."""
    has_hooks = bool(module._forward_hooks or module._forward_pre_hooks)
    return (
        type(module) in (nn.Linear, Conv1D) and "forward" not in module.__dict__ and not has_hooks
    )


def _onednn_name(activation: nn.Module | None) -> tuple[str, str]:
    if type(activation) is nn.GELU:
        return ("gelu", activation.approximate)
    return _ONEDNN_NAMES.get(type(activation), _NO_ACTIVATION)  # type: ignore[arg-type]


def _reorder(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a weight (out, in) in the layout that oneDNN's kernels read."""
    plain = weight.detach().to(dtype).contiguous()
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(plain, _TYPICAL_ROWS)
    return packed


def _linear(
    rows: Tensor, packed: Tensor, bias: Tensor | None, activation: tuple[str, str]
) -> Tensor:
    """Return (T, out) for rows (T, in) and a reordered weight."""
    name, variant = activation
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, name, [], variant)
    return product
