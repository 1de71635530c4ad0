"""Products with weight matrices on a CPU: the family's own numbers, from better-fed kernels.

A `Product` stands in for the `forward` of each `nn.Linear` (and of `Conv1D`, GPT-2's transposed
form) inside a decoder's blocks. What it computes depends on what is asked for:

    no gradients      oneDNN on a copy of the weight in the kernel's own layout, made at the first
                      call and again after the weight has changed. In fp32 its bits do not depend
                      on how many rows there are, which a plain matrix product does not promise.
    bf16, gradients   the weight cast once a batch; the weight's gradient from operands that lie
                      in memory as the kernel reads them (about 1.6x faster than as they come)
    anything else     the family's own forward

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
        if inputs.device.type != "cpu":
            return self._plain(inputs)
        weight, bias = self._module.weight, self._module.bias
        is_bf16 = torch.is_autocast_enabled("cpu")
        if torch.is_grad_enabled():
            if not is_bf16:
                return self._plain(inputs)
            output: Tensor = _Bf16Product.apply(inputs, weight, bias, self._is_transposed)  # type: ignore[no-untyped-call]
            return output
        if not kernels_can_be_fed():
            return self._plain(inputs)
        dtype = torch.bfloat16 if is_bf16 else weight.dtype
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


class _Bf16Product(torch.autograd.Function):
    """inputs @ weight + bias, multiplied in bf16; weight and its gradient stay fp32."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd's own
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        is_transposed: bool,
    ) -> Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1]).to(torch.bfloat16)  # (T, in)
        cast = weight.to(torch.bfloat16)
        matrix = cast if is_transposed else cast.t()  # (in, out)
        if bias is None:
            product = torch.mm(rows, matrix)
        else:
            product = torch.addmm(bias.to(torch.bfloat16), rows, matrix)
        ctx.save_for_backward(rows, matrix)
        ctx.is_transposed = is_transposed
        ctx.has_bias = bias is not None
        ctx.input_shape, ctx.input_dtype = inputs.shape, inputs.dtype
        return product.view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - autograd's own
        rows, matrix = ctx.saved_tensors
        needs_inputs, needs_weight, needs_bias, _ = ctx.needs_input_grad
        grad = grads[0].reshape(-1, matrix.shape[1]).to(torch.bfloat16)  # (T, out)
        of_inputs = of_weight = of_bias = None
        if needs_inputs:
            of_inputs = torch.mm(grad, matrix.t()).to(ctx.input_dtype).view(ctx.input_shape)
        if needs_weight:  # the left operand transposed in memory: see the top of the module
            left, right = (rows, grad) if ctx.is_transposed else (grad, rows)
            of_weight = torch.mm(left.t().contiguous(), right).float()
        if needs_bias and ctx.has_bias:
            of_bias = grad.sum(dim=0, dtype=torch.float32)
        return of_inputs, of_weight, of_bias, None


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
