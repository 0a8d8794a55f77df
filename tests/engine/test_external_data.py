from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnxpress.artifacts.external_data import external_files


def external(location: str) -> TensorProto:
    tensor = TensorProto(name=location, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("offset", "0"), ("location", location), ("length", "4")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def graph(
    *, nodes: list[onnx.NodeProto] | None = None, initializers: list[TensorProto] | None = None
) -> onnx.GraphProto:
    return helper.make_graph(nodes or [], "g", [], [], initializers or [])


def test_every_place_that_a_tensor_can_hide_in_is_read() -> None:
    inner = graph(initializers=[external("in-subgraph")])
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=graph()),
        helper.make_node("Constant", [], ["k"], value=external("in-attribute")),
        helper.make_node("Custom", [], ["t"], domain="x", tensors=[external("in-list")], graphs=[inner]),
    ]
    sparse = helper.make_sparse_tensor(external("sparse-values"), external("sparse-indices"), [1])
    model = helper.make_model(graph(nodes=nodes, initializers=[external("initializer"), external("../up")]))
    model.graph.sparse_initializer.append(sparse)
    body = [helper.make_node("Constant", [], ["f"], value=external("in-function"))]
    model.functions.append(helper.make_function("x", "F", [], ["f"], body, [helper.make_opsetid("", 20)]))
    assert external_files(model.SerializeToString()) == {
        *("in-subgraph", "in-attribute", "in-list", "sparse-values", "sparse-indices"),
        *("initializer", "../up", "in-function"),
    }


def test_data_inside_the_graph_names_no_file() -> None:
    tensor = onnx.numpy_helper.from_array(np.arange(1_000, dtype=np.float32), "location")
    assert external_files(helper.make_model(graph(initializers=[tensor])).SerializeToString()) == frozenset()


def test_an_exported_graph_names_its_weights(artifact: Path) -> None:
    assert external_files((artifact / "model_cpu.onnx").read_bytes()) == {"model.onnx_data"}


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        assert isinstance(external_files(content), frozenset)
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize("content", [b"\x80", b"\x3a\x05ab", b"\x3b", b"\xff" * 12])
def test_what_is_cut_short_or_unknown_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut short|unknown wire type"):
        external_files(content)
