"""Matrices in 8 bits: in blocks of 32 weights, each block with a scale of its own.

    MatMul(x, W)      -> MatMulNBits(x, W8, scales)
    Gather(E, ids)    -> Cast(Gather(E8, ids)) * Gather(scales, ids)

`MatMulNBits` with accuracy level 4 rounds what it multiplies to 8 bits as well, in blocks of each
token: so a text's answer does not depend on the texts beside it, as it does where one scale is
chosen for a whole batch. The head, norms and biases stay in fp32: they are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.deploy.export.graph import quiet_logging
from lasttoken.errors import BackboneError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

BLOCK_SIZE = 32  # weights that share a scale
ACCURACY_LEVEL = 4  # of MatMulNBits: products of 8-bit numbers
LEAST_SHARE = 0.95  # of the bytes of matrices that must have become 8 bits
_HEAD = "score.weight"
_ROWS = "lasttoken_embedding_rows"  # a shape: as many texts and tokens as came in


def to_int8(model: ModelProto) -> ModelProto:
    """Return a graph of `graph.trace` whose matrices are stored in 8 bits.

    Raises:
        BackboneError: less than 95 % of them could be.

    Source:
        The operator and its accuracy levels: ONNX Runtime's `MatMulNBits` (com.microsoft), by its
        own quantizer.
    """
    sizes = _matrices(model)
    with quiet_logging():  # importing the quantizer sets the root logger up
        from onnxruntime.quantization.matmul_nbits_quantizer import (
            DefaultWeightOnlyQuantConfig,
            MatMulNBitsQuantizer,
        )

        head = [node.name for node in model.graph.node if _HEAD in node.input]
        quantizer: Any = MatMulNBitsQuantizer(
            model,
            algo_config=DefaultWeightOnlyQuantConfig(
                block_size=BLOCK_SIZE,
                is_symmetric=True,
                accuracy_level=ACCURACY_LEVEL,
                bits=8,
                op_types_to_quantize=("MatMul",),
            ),
            nodes_to_exclude=head,
        )
        quantizer.process()
    quantized: ModelProto = quantizer.model.model
    _quantize_embeddings(quantized)
    left = _matrices(quantized)
    share = 1 - sum(left.values()) / max(1, sum(sizes.values()))
    if share < LEAST_SHARE:
        raise BackboneError(
            f"only {share:.0%} of the matrices could be stored in 8 bits; not {next(iter(left))!r}",
            expected=f"{LEAST_SHARE:.0%} of their bytes or more",
            remedy="--format onnx",
        )
    return quantized


def quantize_blocks(
    table: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a table (V, H) in 8 bits (V, H / b, b), and the scale (V, H / b, 1) of each block.

    A block is int8 * scale; b is 32, or H where that is no multiple of 32.
    """
    height, width = table.shape
    size = BLOCK_SIZE if width % BLOCK_SIZE == 0 else width
    blocks = table.reshape(height, width // size, size)
    scales = np.abs(blocks).max(axis=2, keepdims=True) / 127
    scales[scales == 0] = 1
    return np.rint(blocks / scales).astype(np.int8), scales.astype(np.float32)


def _matrices(model: ModelProto) -> Mapping[str, int]:
    """Return the bytes of every fp32 matrix that something is multiplied with or looked up in."""
    from onnx import TensorProto

    used = {name for node in model.graph.node for name in node.input}
    return {
        tensor.name: 4 * int(np.prod(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
        and len(tensor.dims) == 2
        and tensor.name in used
        and tensor.name != _HEAD
        and not tensor.name.endswith("_scales")
    }


def _quantize_embeddings(model: ModelProto) -> None:
    """Store the tables of embeddings in 8 bits, in place."""
    from onnx import TensorProto, helper, numpy_helper

    names = _matrices(model)
    tables = {each.name: each for each in model.graph.initializer if each.name in names}
    looked_up: set[str] = set()
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "Gather" or node.input[0] not in tables or _axis(node) != 0:
            nodes.append(node)
            continue
        (name, ids), (output,) = node.input, node.output  # ids (B, L)
        nodes += [
            helper.make_node("Gather", [f"{name}_Q8", ids], [f"{output}_Q8"], axis=0),
            helper.make_node("Cast", [f"{output}_Q8"], [f"{output}_cast"], to=TensorProto.FLOAT),
            helper.make_node("Gather", [f"{name}_scales", ids], [f"{output}_scales"], axis=0),
            helper.make_node("Mul", [f"{output}_cast", f"{output}_scales"], [f"{output}_blocks"]),
            helper.make_node("Reshape", [f"{output}_blocks", _ROWS], [output]),  # (B, L, H)
        ]
        looked_up.add(name)
    kept = [each for each in model.graph.initializer if each.name not in looked_up]
    kept.append(numpy_helper.from_array(np.array([0, 0, -1], dtype=np.int64), _ROWS))
    for name in sorted(looked_up):
        values, scales = quantize_blocks(numpy_helper.to_array(tables[name]))
        kept.append(numpy_helper.from_array(values, f"{name}_Q8"))
        kept.append(numpy_helper.from_array(scales, f"{name}_scales"))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _axis(node: NodeProto) -> int:
    return next((int(each.i) for each in node.attribute if each.name == "axis"), 0)
