"""What is refused while a graph is made: fixed shapes, files too large, matrices left in fp32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from exports import LIMIT, save_classifier
from onnx import TensorProto, helper, numpy_helper

from lasttoken.deploy.export.graph import refuse_too_large, trace
from lasttoken.deploy.export.int8 import to_int8
from lasttoken.errors import BackboneError, ConfigError
from lasttoken.model.folder import load_for_prediction
from lasttoken.model.plain import PlainClassifier, load_plain


def plain_classifier(folder: Path) -> PlainClassifier:
    model = save_classifier(folder)
    return load_plain(model, load_for_prediction(model).classifier.labels, pad_token_id=256)


def test_a_graph_of_one_shape_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = torch.export.Dim.STATIC
    monkeypatch.setattr(torch.export, "Dim", lambda *_, **__: fixed)
    with pytest.raises(BackboneError) as caught:
        trace(plain_classifier(tmp_path), LIMIT)
    assert caught.value.found == "the traced graph takes input_ids of one shape only"
    assert caught.value.expected == "any number and length of texts"


def test_a_model_that_torch_cannot_trace_is_told_in_one_line(tmp_path: Path) -> None:
    plain = plain_classifier(tmp_path)
    plain.score = torch.nn.Linear(1, 3)  # of another width: the product cannot be
    with pytest.raises(BackboneError) as caught:
        trace(plain, LIMIT)
    assert caught.value.found.startswith("torch cannot trace the model: ")
    assert "\n" not in caught.value.found


def test_a_model_beyond_one_file_is_refused_before_it_is_traced() -> None:
    refuse_too_large(530_000_000, as_int8=False)
    refuse_too_large(1_700_000_000, as_int8=True)
    with pytest.raises(ConfigError) as caught:
        refuse_too_large(540_000_000, as_int8=False)
    assert caught.value.found == "a model of 540,000,000 weights: 2.2 GB in one file"
    assert caught.value.remedy == "--format onnx-int8, or a smaller model"
    with pytest.raises(ConfigError) as caught:
        refuse_too_large(1_800_000_000, as_int8=True)
    assert caught.value.remedy == "a smaller model"


def test_a_matrix_that_stays_in_fp32_is_refused_by_name() -> None:
    rng = np.random.default_rng(0)
    weights = {"first": (64, 64), "second": (64, 64)}
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["h"], name="one"),
        helper.make_node("Transpose", ["second"], ["turned"], name="two", perm=[1, 0]),
        helper.make_node("MatMul", ["h", "turned"], ["y"], name="three"),
    ]
    tensors = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 64]) for name in "xy"]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors))
    with pytest.raises(BackboneError) as caught:
        to_int8(model)
    assert caught.value.found == (
        "only 50% of the matrices could be stored in 8 bits; not 'second'"
    )
    assert caught.value.remedy == "--format onnx"
