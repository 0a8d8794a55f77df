"""Put recipes into a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxpress_export.passes._graph import add_initializer, add_node, constant, is_op
from onnxpress_export.precision.products import Source, biased, content_key, matrix, product_nodes, stored_weight
from onnxpress_export.precision.recipe import FINE_STEPS, MOST_OUTLIERS, Recipe

__all__ = ["halve_weights", "quantize_embeddings", "quantize_products"]

_MICROSOFT: Final = "com.microsoft"
"""Also of QuantizeLinear: ONNX's own has a kernel a version, which ONNX Runtime 1.23 lacks for opset 23."""

_BLOCKS: Final = (128, 64, 32, 16)
_LEAST_ROWS: Final = 1_024  # a smaller table saves nothing


def quantize_products(model: ir.Model, sources: Mapping[str, Source], recipes: Mapping[str, Recipe]) -> int:
    """Replace the products of each source in `recipes`, by name, in place. Returns the number of products replaced.

    One QuantizeLinear a source, with a constant scale, then one MatMulIntegerToFloat a product, which adds the bias.
    A divisor goes into the carrier's outputs, or into a multiplication before the QuantizeLinear. Outliers are picked
    by one Gather a source, for a small MatMul a product. Weights that several products share are stored once.
    """
    graph, replaced = model.graph, 0
    nodes = product_nodes(graph)
    carried = {
        source.carrier: recipe.divisor
        for name, recipe in recipes.items()
        if (source := sources[name]).carrier is not None and recipe.divisor is not None
    }
    quantized = {product.name for name in recipes for product in sources[name].products}
    stored: dict[str, ir.Value] = {}
    for name, recipe in recipes.items():
        source = sources[name]
        value = nodes[source.products[0].name].inputs[0]
        assert value is not None
        if recipe.divisor is not None and source.carrier is None:
            inverse = add_initializer(graph, f"{name}_inverse", 1 / recipe.divisor)
            value = add_node("Mul", [value, inverse], f"{name}_smoothed")
        terms = _terms(value, name, recipe)
        outliers = _add_outliers(value, name, recipe)
        for product in source.products:
            weight = recipe.weights[product.name]
            by = carried.get(product.name, np.float32(1.0))
            parts = {"weight": weight.values, "weight_scale": weight.scales / by, "bias": weight.bias / by}
            values, scales, bias = (
                _add_once(graph, stored, f"{product.name}_{part}", content) for part, content in parts.items()
            )
            outputs = [
                _add_product(
                    [integers, values, scale, scales, zero_point, None, addend], f"{product.name}_int8_{index}"
                )
                for index, ((integers, scale, zero_point), addend) in enumerate(zip(terms, (bias, None), strict=False))
            ]
            if outliers is not None:
                exact = _add_once(graph, stored, f"{product.name}_exact_weight", weight.exact / by)
                outputs.append(add_node("MatMul", [outliers, exact], f"{product.name}_exact"))
            end = biased(nodes[product.name])[0]
            output = outputs[0]
            for index, term in enumerate(outputs[1:]):
                output = add_node("Add", [output, term], f"{product.name}_sum_{index}")
            output.type, output.shape = end.type, end.shape
            end.replace_all_uses_with(output)
            replaced += 1
    for name, divisor in carried.items():
        if name not in quantized:
            _divide_outputs(nodes[name], divisor, stored)
    RemoveUnusedNodesPass()(model)
    model.graph.opset_imports.setdefault(_MICROSOFT, 1)
    graph.sort()
    return replaced


def quantize_embeddings(model: ir.Model) -> int:
    """Store each large embedding table as uint8 with a scale a block, in place. Returns the number of tables.

    For size alone: com.microsoft::GatherBlockQuantized takes about as long as the Gather.
    """
    graph, replaced = model.graph, 0
    for node in list(graph):
        table = constant(node.inputs[0]) if is_op(node, "Gather") and not node.attributes.get_int("axis", 0) else None
        if table is None or table.ndim != 2 or table.dtype != np.float32 or len(table) < _LEAST_ROWS:
            continue
        block = next((size for size in _BLOCKS if table.shape[1] % size == 0), None)
        if block is None:
            continue
        name = node.inputs[0].name  # type: ignore[union-attr]  # `constant` found it
        blocks = table.reshape(len(table), -1, block)
        scales = np.maximum(np.abs(blocks).max(axis=2), np.finfo(np.float32).tiny) / np.float32(127)
        integers = (np.rint(blocks / scales[:, :, None]) + 128).astype(np.uint8).reshape(table.shape)
        inputs = [
            add_initializer(graph, f"{name}_uint8", integers),
            node.inputs[1],
            add_initializer(graph, f"{name}_scale", scales),
        ]
        attributes = {"bits": 8, "block_size": block, "gather_axis": 0, "quantize_axis": 1}
        lookup = ir.node("GatherBlockQuantized", inputs, attributes=attributes, domain=_MICROSOFT)
        (output,), end = lookup.outputs, node.outputs[0]
        lookup.name = output.name = f"{end.name}_from_uint8"
        output.type, output.shape = end.type, end.shape
        graph.append(lookup)
        end.replace_all_uses_with(output)
        replaced += 1
    RemoveUnusedNodesPass()(model)
    model.graph.opset_imports.setdefault(_MICROSOFT, 1)
    graph.sort()
    return replaced


def halve_weights(model: ir.Model) -> int:
    """Store the weights of the products that stay fp32 as fp16, in place. Returns the number of products.

    For size alone: ONNX Runtime casts them back once, when it loads the graph. A half has 11 bits, so this loses an
    eighth of what int8 loses, or less. What several products share is stored once.
    """
    graph, halved = model.graph, 0
    singles: dict[str, ir.Value] = {}
    products = [(node, stored_weight(node), matrix(node)) for node in product_nodes(graph).values()]
    for node, held, weight in products:
        content = constant(held)
        if held is None or weight is None or content is None:
            continue
        if len(weight) <= MOST_OUTLIERS or biased(node)[0].is_graph_output():
            continue  # outliers, which weigh most, and the logits themselves
        if np.abs(weight).max(initial=0) > np.finfo(np.float16).max:
            continue
        if (key := content_key(content)) not in singles:
            half = add_initializer(graph, f"{held.name}_half", content.astype(np.float16))
            singles[key] = add_node("Cast", [half], f"{held.name}_half_cast", to=int(ir.DataType.FLOAT))
            singles[key].type, singles[key].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(content.shape)
        operand = node.inputs[1]
        reader, index = (node, 1) if held is operand else (operand.producer() if operand else None, 0)
        assert reader is not None  # else the Transpose behind which it is stored
        reader.replace_input_with(index, singles[key])
        halved += 1
    RemoveUnusedNodesPass()(model)
    graph.sort()
    return halved


def _terms(value: ir.Value, name: str, recipe: Recipe) -> list[tuple[ir.Value, ir.Value, ir.Value]]:
    """The uint8 that stand for `value`, each with its scale and zero point."""
    terms = [_add_quantize(value, f"{name}_quantized", recipe.scale, recipe.zero_point)]
    if recipe.terms == 2:
        coarse = add_node("DequantizeLinear", terms[0], f"{name}_coarse", domain=_MICROSOFT)
        rest = add_node("Sub", [value, coarse], f"{name}_rest")
        terms.append(
            _add_quantize(rest, f"{name}_rest_quantized", recipe.scale / np.float32(FINE_STEPS), np.uint8(128))
        )
    return terms


def _add_outliers(value: ir.Value, name: str, recipe: Recipe) -> ir.Value | None:
    """The recipe's outliers of `value`, [..., outliers]; None where it has none."""
    graph = value.graph
    if not len(recipe.outliers):
        return None
    assert isinstance(graph, ir.Graph)
    channels = add_initializer(graph, f"{name}_outlier_channels", recipe.outliers)
    return add_node("Gather", [value, channels], f"{name}_outliers", axis=-1)


def _add_quantize(value: ir.Value, name: str, step: np.float32, zero: np.uint8) -> tuple[ir.Value, ir.Value, ir.Value]:
    graph = value.graph
    assert isinstance(graph, ir.Graph)
    scale = add_initializer(graph, f"{name}_scale", np.array(step, dtype=np.float32))
    zero_point = add_initializer(graph, f"{name}_zero_point", np.array(zero, dtype=np.uint8))
    integers = add_node("QuantizeLinear", [value, scale, zero_point], name, domain=_MICROSOFT)
    return integers, scale, zero_point


def _add_product(inputs: Sequence[ir.Value | None], name: str) -> ir.Value:
    node = ir.node("MatMulIntegerToFloat", inputs, domain=_MICROSOFT, name=name)
    node.outputs[0].name = name
    graph = inputs[0].graph  # type: ignore[union-attr]  # the integers are never None
    assert isinstance(graph, ir.Graph)
    graph.append(node)
    return node.outputs[0]


def _add_once(graph: ir.Graph, stored: dict[str, ir.Value], name: str, content: NDArray[np.generic]) -> ir.Value:
    """The initializer of `content`: the one that is `stored` already, or a new one called `name`."""
    key = content_key(content)
    if key not in stored:
        stored[key] = add_initializer(graph, name, content)
    return stored[key]


def _divide_outputs(node: ir.Node, divisor: NDArray[np.float32], stored: dict[str, ir.Value]) -> None:
    """Divide what the MatMul or Gemm `node` gives with its bias, in its constants."""
    graph, weight = node.graph, matrix(node)
    assert isinstance(graph, ir.Graph) and weight is not None
    value, bias = biased(node)
    name = node.outputs[0].name
    node.replace_input_with(1, _add_once(graph, stored, f"{name}_divided", weight / divisor))
    if is_op(node, "Gemm"):
        for attribute, plain in (
            ("transB", ir.AttrInt64("transB", 0)),
            ("alpha", ir.AttrFloat32("alpha", 1.0)),
            ("beta", ir.AttrFloat32("beta", 1.0)),
        ):
            node.attributes[attribute] = plain
    if bias is not None:
        adder = node if value is node.outputs[0] else value.producer()
        assert adder is not None
        index = (
            2 if adder is node else next(i for i, operand in enumerate(adder.inputs) if operand is not node.outputs[0])
        )
        adder.replace_input_with(index, _add_once(graph, stored, f"{name}_divided_bias", bias / divisor))
