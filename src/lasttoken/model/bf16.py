"""A trained product in bf16 on a CPU, multiplied in the shapes that its kernels are good at.

The numbers are those of autocast: inputs and weight are cast to bf16, sums are made in fp32 and
rounded to bf16, the weight's gradient is cast back. What differs is how the work is cut (measured
on a processor with AMX, docs/log.md):

    many rows        above about 640 of them, a product onto few columns takes twice its time:
                     rows go through in parts
    weight gradient  its left operand comes transposed, which costs twice the time too: where that
                     is the narrower one, it is laid out anew before
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_MOST_ROWS = 640  # of one part
_ROW_STEP = 16  # parts are cut at multiples of it, the height of a kernel's tile


def bf16_product(
    inputs: Tensor, weight: Tensor, bias: Tensor | None, *, is_transposed: bool
) -> Tensor:
    """Multiply inputs by a weight and add a bias, with gradients for all three.

    Args:
        inputs: (..., in), fp32 or bf16.
        weight: (out, in) fp32; (in, out) if transposed.
        bias: (out,) fp32, or None.
        is_transposed: as `Conv1D` keeps its weight.

    Returns:
        (..., out) bf16.
    """
    product: Tensor = _Bf16Product.apply(inputs, weight, bias, is_transposed)  # type: ignore[no-untyped-call]
    return product


class _Bf16Product(torch.autograd.Function):
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
        ctx.save_for_backward(rows, matrix)
        ctx.is_transposed = is_transposed
        ctx.shape, ctx.dtype = inputs.shape, inputs.dtype
        product = _multiply(rows, matrix, None if bias is None else bias.to(torch.bfloat16))
        return product.view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - autograd's own
        rows, matrix = ctx.saved_tensors
        needs_inputs, needs_weight, needs_bias, _ = ctx.needs_input_grad
        grad = grads[0].reshape(-1, matrix.shape[1])  # (T, out)
        of_inputs = of_weight = of_bias = None
        if needs_inputs:
            of_inputs = _multiply(grad, matrix.t()).to(ctx.dtype).view(ctx.shape)
        if needs_weight:
            left, right = (rows, grad) if ctx.is_transposed else (grad, rows)
            turned = left.t()
            if left.shape[1] <= right.shape[1]:
                turned = turned.contiguous()
            of_weight = torch.mm(turned, right).float()
        if needs_bias:
            of_bias = grad.sum(dim=0).float()
        return of_inputs, of_weight, of_bias, None


def _multiply(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return rows (T, in) @ matrix (in, out) + bias (out,), in parts of even size."""
    num_rows = len(rows)
    num_parts = -(-num_rows // _MOST_ROWS)
    height = -(-num_rows // (num_parts * _ROW_STEP)) * _ROW_STEP
    product = rows.new_empty((num_rows, matrix.shape[1]))
    for start in range(0, num_rows, height):
        part = slice(start, start + height)
        if bias is None:
            torch.mm(rows[part], matrix, out=product[part])
        else:
            torch.addmm(bias, rows[part], matrix, out=product[part])
    return product
