"""An ONNX file with weights elsewhere is refused, wherever in the graph they hide."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from lasttoken.deploy.light.graph_file import refuse_external_data
from lasttoken.errors import BackboneError


def tensor(name: str, location: str | None = None) -> TensorProto:
    made = helper.make_tensor(name, TensorProto.FLOAT, [2], [1.0, 2.0])
    if location is not None:
        made.ClearField("float_data")
        made.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "8")):
            entry = made.external_data.add()
            entry.key, entry.value = key, value
    return made


def graph(nodes: list = (), initializers: list = (), sparse: list = ()):
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return helper.make_graph(
        list(nodes), "g", [], [output], list(initializers), sparse_initializer=list(sparse)
    )


def add_weight(location: str | None):
    return graph([helper.make_node("Add", ["w", "w"], ["y"])], [tensor("w", location)])


def in_initializer(location: str):
    return helper.make_model(add_weight(location))


def in_constant(location: str):
    node = helper.make_node("Constant", [], ["y"], value=tensor("w", location))
    return helper.make_model(graph([node]))


def in_list_of_tensors(location: str):
    node = helper.make_node("Any", [], ["y"], values=[tensor("w", location)])
    return helper.make_model(graph([node]))


def in_branch(location: str):
    node = helper.make_node("If", ["c"], ["y"], then_branch=add_weight(None),
                            else_branch=add_weight(location))  # fmt: skip
    return helper.make_model(graph([node]))


def in_list_of_graphs(location: str):
    node = helper.make_node("Any", [], ["y"], branches=[add_weight(location)])
    return helper.make_model(graph([node]))


def in_sparse_weight(location: str):
    indices = helper.make_tensor("i", TensorProto.INT64, [2], [0, 1])
    sparse = helper.make_sparse_tensor(tensor("w", location), indices, [4])
    return helper.make_model(graph([], [], [sparse]))


def in_function(location: str):
    node = helper.make_node("Constant", [], ["y"], value=tensor("w", location))
    made = helper.make_function("d", "F", [], ["y"], [node], [helper.make_opsetid("", 20)])
    return helper.make_model(graph(), functions=[made])


def in_training(location: str):
    model = helper.make_model(graph())
    model.training_info.add().algorithm.CopyFrom(add_weight(location))
    return model


PLACES = (in_initializer, in_constant, in_list_of_tensors, in_branch, in_list_of_graphs,
          in_sparse_weight, in_function, in_training)  # fmt: skip


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "link", "beside.data"])
@pytest.mark.parametrize("place", PLACES)
def test_a_graph_with_weights_in_another_file_is_refused(
    tmp_path: Path, place, location: str
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(place(location).SerializeToString())
    with pytest.raises(BackboneError) as caught:
        refuse_external_data(path)
    assert caught.value.found == f"{path}: the tensor 'w' lies in another file"
    assert caught.value.remedy == "export the run again; do not load this one"


def test_a_location_alone_is_enough_to_be_refused(tmp_path: Path) -> None:
    model = in_initializer("../secret")
    model.graph.initializer[0].ClearField("data_location")
    (tmp_path / "named.onnx").write_bytes(model.SerializeToString())
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].ClearField("external_data")
    (tmp_path / "marked.onnx").write_bytes(model.SerializeToString())
    for name in ("named.onnx", "marked.onnx"):
        with pytest.raises(BackboneError, match="lies in another file"):
            refuse_external_data(tmp_path / name)


@pytest.mark.parametrize("place", PLACES)
def test_a_graph_with_all_weights_inside_passes(tmp_path: Path, place) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(place(None).SerializeToString())
    refuse_external_data(path)


def test_a_file_that_is_no_graph_or_cut_off_is_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    whole = helper.make_model(add_weight(None)).SerializeToString()
    for content in (b"", whole[:-1], whole[: len(whole) // 2], b"\x00\x01", b"PK\x03\x04zip"):
        path.write_bytes(content)
        with pytest.raises(BackboneError) as caught:
            refuse_external_data(path)
        assert caught.value.found.startswith(f"{path}: ")
        assert caught.value.expected == "a whole ONNX file"
    with pytest.raises(BackboneError, match="No such file"):
        refuse_external_data(tmp_path / "absent.onnx")


def test_any_bytes_at_all_pass_or_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    whole = in_branch("../secret").SerializeToString()
    rng = random.Random(0)
    for _ in range(300):
        content = bytearray(whole if rng.random() < 0.7 else rng.randbytes(rng.randint(1, 200)))
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        with contextlib.suppress(BackboneError):  # anything else fails the test
            refuse_external_data(path)


def test_graphs_nested_without_end_are_refused(tmp_path: Path) -> None:
    inner = add_weight(None)
    for _ in range(30):
        inner = graph([helper.make_node("Any", [], ["y"], body=inner)])
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(inner).SerializeToString())
    with pytest.raises(BackboneError, match="nested too deeply"):
        refuse_external_data(path)
