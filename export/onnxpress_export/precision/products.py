"""The matrix products of a graph that int8 can take over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxpress_export.passes._graph import constant, is_op

__all__ = ["Product", "Source", "biased", "find_sources"]


@dataclass(frozen=True, slots=True)
class Product:
    """`input @ weight + bias`, known by the name of its MatMul's output, which clones of the graph keep.

    Attributes:
        name: Name of the MatMul's output.
        output: Name of the value that holds the biased product; `name` where there is no bias.
        weight: float32 [inputs, outputs].
        bias: float32 [outputs], zeros where there is none.
    """

    name: str
    output: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Source:
    """A value and the products that read it, which share its quantization.

    Attributes:
        name: Name of the value, float32 [batch, sequence, inputs].
        products: Those that read it.
        carrier: The product whose outputs, averaged over tokens by an attention, are this value's channels, or
            None. What divides its outputs divides this value.
    """

    name: str
    products: tuple[Product, ...]
    carrier: str | None


def find_sources(graph: ir.Graph) -> list[Source]:
    """Every value that a product with a constant weight reads, in the graph's order."""
    readers: dict[ir.Value, list[Product]] = {}
    for node in graph:
        if is_op(node, "MatMul") and (product := _product(node)) is not None:
            value = node.inputs[0]
            assert value is not None
            readers.setdefault(value, []).append(product)
    found = {product.output: product.name for products in readers.values() for product in products}
    return [Source(_name(value), tuple(products), _carrier(value, found)) for value, products in readers.items()]


def biased(matmul: ir.Node) -> tuple[ir.Value, NDArray[np.float32] | None]:
    """The product of `matmul` with its bias, where the only reader adds one: (value, bias or None)."""
    output = matmul.outputs[0]
    uses = list(output.uses())
    if len(uses) == 1 and is_op(uses[0].node, "Add") and not output.is_graph_output():
        add = uses[0].node
        bias = constant(add.inputs[1 - uses[0].idx])
        if bias is not None and bias.ndim == 1:
            return add.outputs[0], bias.astype(np.float32)
    return output, None


def _product(matmul: ir.Node) -> Product | None:
    weight = constant(matmul.inputs[1])
    if weight is None or weight.ndim != 2 or weight.dtype != np.float32:
        return None
    value, bias = biased(matmul)
    if value.is_graph_output():
        return None  # the logits themselves
    outputs = weight.shape[1]
    return Product(
        name=_name(matmul.outputs[0]),
        output=_name(value),
        weight=weight.astype(np.float32, copy=False),
        bias=np.zeros(outputs, dtype=np.float32) if bias is None else np.broadcast_to(bias, (outputs,)),
    )


def _carrier(value: ir.Value, products: dict[str, str]) -> str | None:
    """The product that gives the attention which produced `value` its values, when nothing else reads it."""
    attention = value.producer()
    if attention is None or not (
        is_op(attention, "Attention") or is_op(attention, "MultiHeadAttention", "com.microsoft")
    ):
        return None
    carried = attention.inputs[2]
    if carried is None or len(list(carried.uses())) != 1:
        return None
    return products.get(_name(carried))


def _name(value: ir.Value) -> str:
    assert value.name is not None
    return value.name
