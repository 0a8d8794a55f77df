"""ONNX's Attention in MultiHeadAttention's place: the same answers, for every input that the exporter writes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from onnxpress_export.graph_census import attention_count, operator_counts
from onnxpress_export.passes.use_onnx_attention import use_onnx_attention

HEADS, FEATURES = 2, 16
ATOL = 2e-6  # the same float32 sums in another order; outputs stay below 4 (asserted), one rounding of it is 2.4e-7

Arrays = dict[str, NDArray[np.generic]]


def attention(*, queries: str | int = "sequence", slots: int = 3, attributes: dict[str, int | float]) -> ir.Model:
    """One MultiHeadAttention of the first `slots` of its inputs, without the projection bias."""
    tape = ir.tape.Tape()
    shapes: dict[str, tuple[ir.DataType, list[str | int]]] = {
        "query": (ir.DataType.FLOAT, ["batch", queries, FEATURES]),
        "key": (ir.DataType.FLOAT, ["batch", "sequence", FEATURES]),
        "value": (ir.DataType.FLOAT, ["batch", "sequence", FEATURES]),
        "padding": (ir.DataType.INT32, ["batch", "sequence"]),
        "score_bias": (ir.DataType.FLOAT, ["rows", "heads", queries, "sequence"]),
    }
    values = {name: ir.val(name, *shapes[name]) for name in list(shapes)[:slots]}
    operands = [*list(values.values())[:3], None, *list(values.values())[3:]]
    output = tape.op("MultiHeadAttention", operands, {"num_heads": HEADS, **attributes}, domain="com.microsoft")
    output.name, output.shape, output.dtype = "output", values["query"].shape, ir.DataType.FLOAT
    opsets = {"": 20, "com.microsoft": 1}
    graph = ir.Graph(list(values.values()), [output], nodes=tape.nodes, opset_imports=opsets, name="attention")
    return ir.Model(graph, ir_version=10)


def random_inputs(batch: int, queries: int, keys: int, *, rows: int = 1, heads: int = 1) -> Arrays:
    generator = np.random.default_rng(batch * 1_000 + keys)
    lengths = generator.integers(1, keys + 1, batch)
    return {
        "query": generator.normal(size=(batch, queries, FEATURES)).astype(np.float32),
        "key": generator.normal(size=(batch, keys, FEATURES)).astype(np.float32),
        "value": generator.normal(size=(batch, keys, FEATURES)).astype(np.float32),
        "padding": (np.arange(keys) < lengths[:, None]).astype(np.int32),
        "score_bias": generator.normal(size=(rows, heads, queries, keys)).astype(np.float32),
    }


def run(model: ir.Model, inputs: Arrays) -> NDArray[np.float32]:
    """The output, with ONNX Runtime's own rewrites off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    output: NDArray[np.float32] = session.run(None, {i.name: inputs[i.name] for i in session.get_inputs()})[0]
    return output


def assert_same(model: ir.Model, *inputs: Arrays) -> None:
    rewritten = model.clone()
    assert use_onnx_attention(rewritten) == 1
    assert attention_count(operator_counts(rewritten.graph)) == operator_counts(rewritten.graph)["Attention"] == 1
    for content in inputs:
        wanted = run(model, content)
        assert np.abs(wanted).max() < 4
        np.testing.assert_allclose(run(rewritten, content), wanted, rtol=0, atol=ATOL)


SHAPES = [(1, 1), (1, 7), (3, 33), (5, 64)]


@pytest.mark.parametrize("scale", [{}, {"scale": 0.11}])
@pytest.mark.parametrize("causal", [{}, {"unidirectional": 1}])
def test_without_a_mask(scale: dict[str, float], causal: dict[str, int]) -> None:
    model = attention(attributes={**scale, **causal})
    assert_same(model, *(random_inputs(batch, keys, keys) for batch, keys in SHAPES))


@pytest.mark.parametrize("causal", [{}, {"unidirectional": 1}])
def test_with_padding(causal: dict[str, int]) -> None:
    model = attention(slots=4, attributes={"scale": 0.3, **causal})
    assert_same(model, *(random_inputs(batch, keys, keys) for batch, keys in SHAPES))


def test_with_padding_and_one_query() -> None:
    model = attention(queries=1, slots=4, attributes={"scale": 0.3})
    assert_same(model, *(random_inputs(batch, 1, keys) for batch, keys in SHAPES))


@pytest.mark.parametrize("heads", [1, HEADS])
@pytest.mark.parametrize("every_row", [False, True])
def test_with_padding_and_a_bias_of_the_scores(heads: int, every_row: bool) -> None:
    model = attention(slots=5, attributes={"scale": 0.3})
    cases = [random_inputs(b, k, k, rows=b if every_row else 1, heads=heads) for b, k in SHAPES]
    assert_same(model, *cases)


def test_a_mask_that_is_lost_is_seen() -> None:
    """The tolerance bites."""
    model = attention(slots=4, attributes={})
    rewritten = model.clone()
    use_onnx_attention(rewritten)
    inputs = random_inputs(3, 33, 33)
    seen = run(rewritten, {**inputs, "padding": np.ones_like(inputs["padding"])})
    assert np.abs(seen - run(model, inputs)).max() > 1_000 * ATOL


def test_masks_are_made_once() -> None:
    model = attention(slots=4, attributes={})
    (first,) = [node for node in model.graph if node.op_type == "MultiHeadAttention"]
    again = ir.node("MultiHeadAttention", first.inputs, attributes={"num_heads": HEADS}, domain="com.microsoft")
    again.outputs[0].name, again.outputs[0].type = "again", ir.TensorType(ir.DataType.FLOAT)
    model.graph.append(again)
    model.graph.outputs.append(again.outputs[0])
    assert use_onnx_attention(model) == 2
    assert operator_counts(model.graph)["Expand"] == 1


def test_what_is_not_known_stays() -> None:
    masked = attention(queries="queries", slots=4, attributes={})
    assert use_onnx_attention(masked) == 0 and masked.graph.opset_imports[""] == 20
    filled = attention(slots=4, attributes={"mask_filter_value": -1.0})
    assert use_onnx_attention(filled) == 0
    biased = attention(attributes={})
    node = biased.graph[0]
    node.resize_inputs(4)
    bias = ir.val("bias", ir.DataType.FLOAT, [3 * FEATURES])
    biased.graph.inputs.append(bias)
    node.replace_input_with(3, bias)
    assert use_onnx_attention(biased) == 0


def test_a_newer_opset_stays() -> None:
    model = attention(attributes={})
    model.graph.opset_imports[""] = 24
    assert use_onnx_attention(model) == 1 and model.graph.opset_imports[""] == 24
