"""A classifier as an ONNX graph: traced from torch, with any number and length of texts."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from lasttoken.errors import BackboneError, ConfigError
from lasttoken.model.plain import PlainClassifier

if TYPE_CHECKING:
    from onnx import ModelProto

# A file of protocol buffers ends here, and weights in further files are what we never write.
LARGEST_FILE = 2**31 - 1

_EXAMPLE_SHAPE = (3, 5)  # traced with; 0 and 1 are numbers that a tracer takes for fixed
_INT8_BYTES_PER_WEIGHT = 1.2  # a byte, and the scales of its block


def refuse_too_large(num_weights: int, *, as_int8: bool) -> None:
    """Refuse a model that does not fit into one file.

    Args:
        num_weights: of the classifier.
        as_int8: whether matrices will be stored in 8 bits.

    Raises:
        ConfigError: it does not.
    """
    num_bytes = int(num_weights * (_INT8_BYTES_PER_WEIGHT if as_int8 else 4))
    if num_bytes > LARGEST_FILE:
        raise ConfigError(
            f"a model of {num_weights:,} weights: {num_bytes / 1e9:.1f} GB in one file",
            expected="at most 2 GB, the most that an ONNX file holds without others beside it",
            remedy="a smaller model" if as_int8 else "--format onnx-int8, or a smaller model",
        )


def trace(model: PlainClassifier, max_length: int) -> ModelProto:
    """Return a classifier as an ONNX graph with inputs of any shape (B, L).

    Args:
        model: in evaluation mode, on the CPU.
        max_length: the longest L.

    Returns:
        A graph from `input_ids` and `attention_mask` (B, L) int64 to `logits` (B, C) fp32, with
        all weights inside, named as in the model.

    Raises:
        BackboneError: torch cannot trace it, or a shape has become fixed.
    """
    batch = torch.export.Dim("batch", min=1)
    length = torch.export.Dim("length", min=1, max=max(max_length, _EXAMPLE_SHAPE[1] + 1))
    shape = {0: batch, 1: length}
    example = (
        torch.arange(_EXAMPLE_SHAPE[0] * _EXAMPLE_SHAPE[1]).reshape(_EXAMPLE_SHAPE) % 7,
        torch.ones(_EXAMPLE_SHAPE, dtype=torch.int64),
    )
    try:
        with quiet_logging(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # about the libraries' own insides
            program: Any = torch.onnx.export(
                model,
                example,
                dynamo=True,
                input_names=["input_ids", "attention_mask"],
                output_names=["logits"],
                dynamic_shapes={"input_ids": shape, "attention_mask": shape},
                external_data=False,
                verbose=False,
            )
            graph: ModelProto = program.model_proto
    except Exception as error:  # the exporter raises whatever a family makes it raise
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise BackboneError(
            f"torch cannot trace the model: {lines[0] if lines else type(error).__name__}",
            expected="a model that torch.onnx.export knows how to write",
            remedy="another version of torch and onnxscript: pip install -c constraints.txt ...",
        ) from error
    _refuse_fixed_shapes(graph)
    _remove_traces(graph)
    return graph


@contextmanager
def quiet_logging() -> Iterator[None]:
    """Undo what libraries do to the root logger inside the block, and hide their chatter."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    disabled = root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)


def _refuse_fixed_shapes(graph: ModelProto) -> None:
    """Refuse a graph that only takes batches of the shape it was traced with.

    Raises:
        BackboneError: it does.
    """
    for each in graph.graph.input:
        dims = each.type.tensor_type.shape.dim
        if len(dims) != len(_EXAMPLE_SHAPE) or not all(dim.dim_param for dim in dims):
            raise BackboneError(
                f"the traced graph takes {each.name} of one shape only",
                expected="any number and length of texts",
                remedy="another version of torch and onnxscript: pip install -c constraints.txt "
                "...",
            )


def _remove_traces(graph: ModelProto) -> None:
    """Remove what the tracer notes beside the graph: lines of source, paths of this machine."""
    inner = graph.graph
    for each in (inner, *inner.node, *inner.initializer, *inner.input, *inner.output):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")
    inner.ClearField("value_info")  # shapes in between; the runtime finds them again
    graph.ClearField("metadata_props")
    graph.ClearField("doc_string")
