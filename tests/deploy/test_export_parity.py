"""Exported graphs answer as the model in torch: every family, batch, length and padding side."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from exports import LIMIT, save_classifier

from lasttoken.deploy.export.graph import trace
from lasttoken.deploy.export.int8 import quantize_blocks, to_int8
from lasttoken.inference.prediction import predict_logits
from lasttoken.model.folder import load_for_prediction
from lasttoken.model.plain import PLAIN_FAMILIES, load_plain
from lasttoken.model.reading import Reading
from lasttoken.model.tokens import TokenizedTexts

SHAPES = [(batch, length) for batch in (1, 2, 7) for length in (1, 2, 17, LIMIT)]


class Exported(NamedTuple):
    classifier: Any
    graph: Any
    sessions: dict[str, Any]


@pytest.fixture(scope="module", params=PLAIN_FAMILIES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = save_classifier(tmp_path_factory.mktemp("exported"), request.param)
    loaded = load_for_prediction(folder)
    plain = load_plain(folder, loaded.classifier.labels, pad_token_id=256)
    graph = trace(plain, LIMIT)
    graphs = {"onnx": graph, "onnx-int8": to_int8(copy.deepcopy(graph))}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {
        name: onnxruntime.InferenceSession(each.SerializeToString(), options)
        for name, each in graphs.items()
    }
    return Exported(loaded.classifier, graphs, sessions)


def rows_of(batch: int, length: int) -> list[np.ndarray]:
    """Rows of random tokens, the padding token and end-of-text among them; the first is longest."""
    rng = np.random.default_rng(batch * 1_000 + length)
    lengths = [length, *rng.integers(1, length + 1, size=batch - 1)]
    return [rng.integers(0, 257, size=size) for size in lengths]


def padded(rows: list[np.ndarray], side: str) -> dict[str, np.ndarray]:
    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), 256, dtype=np.int64)
    mask = np.zeros_like(ids)
    for place, row in enumerate(rows):
        where = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
        ids[place, where], mask[place, where] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


def in_torch(classifier: Any, rows: list[np.ndarray], limit: int = LIMIT) -> np.ndarray:
    lengths = [len(row) for row in rows]
    texts = TokenizedTexts(
        np.concatenate(rows).astype(np.int32),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.array(lengths),
        np.zeros(len(rows), dtype=bool),
        Reading(limit),
    )
    return predict_logits(classifier, texts, device=torch.device("cpu"), precision="fp32")


@pytest.mark.parametrize("side", ["right", "left"])
def test_logits_are_those_of_torch_whatever_the_shape_and_the_padding(
    exported: Exported, side: str
) -> None:
    for batch, length in SHAPES:
        rows = rows_of(batch, length)
        expected = in_torch(exported.classifier, rows)
        assert np.ptp(expected) > 0.5, "logits that differ, or a mistake could hide"
        found = exported.sessions["onnx"].run(["logits"], padded(rows, side))[0]
        assert found.shape == (batch, 3)
        largest = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(found, expected, atol=1e-5 * largest, err_msg=f"{batch, length}")


@pytest.mark.slow
def test_a_gpt2_of_true_shape_answers_as_in_torch_up_to_its_1024_tokens(tmp_path: Path) -> None:
    limit = 1_024
    shape = {
        "n_layer": 12,
        "n_embd": 768,
        "n_head": 12,
        "n_positions": limit,
        "initializer_range": 0.02,
    }  # GPT-2's own: drawn wider, depth multiplies rounding
    loaded = load_for_prediction(save_classifier(tmp_path, changes=shape))
    assert loaded.token_limit == limit
    plain = load_plain(tmp_path / "model", loaded.classifier.labels, pad_token_id=256)
    session = onnxruntime.InferenceSession(trace(plain, limit).SerializeToString())
    for batch in (1, 2, 7):
        for length in (1, 2, 17, limit):
            rows = rows_of(batch, length)
            expected = in_torch(loaded.classifier, rows, limit)
            assert np.ptp(expected) > 0.1, "logits that differ, or a mistake could hide"
            found = session.run(["logits"], padded(rows, "right"))[0]
            largest = max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(found, expected, atol=1e-4 * largest)
            np.testing.assert_allclose(scores_of(found), scores_of(expected), atol=1e-4)


def scores_of(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(1).numpy()


@pytest.mark.parametrize("kind", ["onnx", "onnx-int8"])
def test_a_row_is_answered_alike_alone_and_in_a_batch(exported: Exported, kind: str) -> None:
    for batch, length in SHAPES:
        rows = rows_of(batch, length)
        together = exported.sessions[kind].run(["logits"], padded(rows, "right"))[0]
        for place, row in enumerate(rows):
            alone = exported.sessions[kind].run(["logits"], padded([row], "right"))[0]
            largest = max(1.0, float(np.abs(together).max()))
            atol = (1e-5 if kind == "onnx" else 1e-3) * largest
            np.testing.assert_allclose(alone[0], together[place], atol=atol)


def test_8_bits_are_near_and_agree(exported: Exported) -> None:
    rows = [row for batch, length in SHAPES for row in rows_of(batch, length)]
    expected = in_torch(exported.classifier, rows)
    found = exported.sessions["onnx-int8"].run(["logits"], padded(rows, "right"))[0]
    assert np.abs(found - expected).mean() < 0.05 * np.abs(expected).max()
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.9, "random weights: ties are common"


def test_every_matrix_but_the_head_is_in_8_bits(exported: Exported) -> None:
    graph = exported.graph["onnx-int8"].graph
    kept = [each.name for each in graph.initializer
            if each.data_type == onnx_float() and len(each.dims) == 2
            and not each.name.endswith("_scales")]  # fmt: skip
    assert kept == ["score.weight"]
    attributes = [{a.name: a.i for a in node.attribute}
                  for node in graph.node if node.op_type == "MatMulNBits"]  # fmt: skip
    assert attributes
    for each in attributes:
        assert (each["bits"], each["block_size"], each["accuracy_level"]) == (8, 32, 4)


def onnx_float() -> int:
    from onnx import TensorProto

    return TensorProto.FLOAT


def test_a_graph_holds_no_source_and_no_path_of_the_machine(exported: Exported) -> None:
    import lasttoken

    for graph in exported.graph.values():
        content = graph.SerializeToString()
        for trace_of_us in (b".py", b"File ", str(Path(lasttoken.__file__).parent).encode()):
            assert trace_of_us not in content


@pytest.mark.parametrize(
    "family", ["gpt2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("llama", "qwen3"))]
)
def test_the_file_in_8_bits_is_at_most_0_35_of_fp32(family: str, tmp_path: Path) -> None:
    sizes = {"n_embd": 256} if family == "gpt2" else {
        "hidden_size": 256, "intermediate_size": 512, "head_dim": 64}  # fmt: skip
    folder = save_classifier(tmp_path, family, changes=sizes)
    plain = load_plain(folder, load_for_prediction(folder).classifier.labels, pad_token_id=256)
    graph = trace(plain, LIMIT)
    whole = graph.ByteSize()
    assert to_int8(graph).ByteSize() <= 0.35 * whole


@pytest.mark.parametrize("width", [64, 50], ids=["in blocks", "no multiple of 32"])
def test_a_table_in_8_bits_is_within_half_a_step_of_each_block(width: int) -> None:
    table = np.random.default_rng(0).normal(size=(7, width)).astype(np.float32)
    table[0], table[1, 3] = 0, 1_000.0
    values, scales = quantize_blocks(table)
    assert values.dtype == np.int8
    assert values.shape == ((7, 2, 32) if width == 64 else (7, 1, 50))
    found = (values * scales).reshape(table.shape)
    steps = np.broadcast_to(scales, values.shape).reshape(table.shape)
    assert (np.abs(found - table) <= steps * 0.5001).all()
    assert found[1, 3] == pytest.approx(1_000)
    if width == 64:
        assert np.abs(found[1, 32:] - table[1, 32:]).max() < 0.02, "its own block is not disturbed"
