"""The matrix products of a graph that int8 can take over."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxpress_export.passes._graph import constant, is_op

__all__ = [
    "Product",
    "Source",
    "biased",
    "content_key",
    "families",
    "find_sources",
    "matrix",
    "product_nodes",
    "stored_weight",
    "weighted_nodes",
]

_WEIGHTED: Final = ("Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN")


@dataclass(frozen=True, slots=True)
class Product:
    """`input @ weight + bias`, known by the name of its MatMul's or Gemm's output, which clones of the graph keep.

    Attributes:
        name: Name of the operator's output.
        output: Name of the value that holds the biased product; `name` where there is no bias, or a Gemm adds it.
        weight: float32 [inputs, outputs].
        bias: float32 [outputs], zeros where there is none.
        key: What equal weights have in common, whatever they are called: layers may share them.
    """

    name: str
    output: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    key: str


@dataclass(frozen=True, slots=True)
class Source:
    """A value and the products that read it, which share its quantization.

    Attributes:
        name: Name of the value, float32 [..., inputs].
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
    for node in product_nodes(graph).values():
        if (product := _product(node)) is not None:
            value = node.inputs[0]
            assert value is not None
            readers.setdefault(value, []).append(product)
    found = {product.output: product.name for products in readers.values() for product in products}
    return [Source(_name(value), tuple(products), _carrier(value, found)) for value, products in readers.items()]


def families(sources: Mapping[str, Source]) -> list[list[str]]:
    """The names of `sources` in groups: those that share a weight, directly or through others, are together.

    A family is quantized alike, so that each weight is stored once.
    """
    groups: list[tuple[set[str], list[str]]] = []
    for name, source in sources.items():
        keys, names = {product.key for product in source.products}, [name]
        apart = []
        for other_keys, other_names in groups:
            if other_keys & keys:
                keys, names = keys | other_keys, [*other_names, *names]
            else:
                apart.append((other_keys, other_names))
        groups = [*apart, (keys, names)]
    order = {name: index for index, name in enumerate(sources)}
    return sorted((sorted(names, key=order.__getitem__) for _, names in groups), key=lambda names: order[names[0]])


def product_nodes(graph: ir.Graph) -> dict[str, ir.Node]:
    """The MatMul and Gemm nodes by the name of their output."""
    return {_name(node.outputs[0]): node for node in graph if is_op(node, "MatMul") or is_op(node, "Gemm")}


def weighted_nodes(graph: ir.Graph) -> list[ir.Node]:
    """All that multiply by a constant matrix, convolutions too, but for what makes the logits themselves."""
    return [
        node
        for node in graph
        if node.op_type in _WEIGHTED and node.domain == "" and any(_is_matrix(value) for value in node.inputs)
        if not biased(node)[0].is_graph_output()
    ]


def matrix(node: ir.Node) -> NDArray[np.float32] | None:
    """The constant float32 [inputs, outputs] that the MatMul or Gemm `node` multiplies by; None where there is none."""
    held = stored_weight(node)
    weight = constant(held)
    if weight is None or weight.ndim != 2 or weight.dtype != np.float32:
        return None
    found: NDArray[np.float32] = weight.astype(np.float32, copy=False)
    if held is not node.inputs[1]:
        found = found.T
    if is_op(node, "Gemm"):
        if node.attributes.get_int("transA", 0):
            return None
        found = found.T if node.attributes.get_int("transB", 0) else found
        alpha = node.attributes.get_float("alpha", 1.0)
        found = found if alpha == 1 else found * np.float32(alpha)
    return np.ascontiguousarray(found)


def stored_weight(node: ir.Node) -> ir.Value | None:
    """The value behind a product's second operand, through a Transpose that swaps two axes."""
    value = node.inputs[1]
    producer = None if value is None else value.producer()
    if producer is not None and is_op(producer, "Transpose"):
        axes = producer.attributes.get_ints("perm", None)
        if axes is None or list(axes) == [1, 0]:
            return producer.inputs[0]
    return value


def content_key(content: NDArray[np.generic]) -> str:
    """Equal for arrays of equal type, shape and content."""
    digest = hashlib.blake2b(np.ascontiguousarray(content).view(np.uint8).data, digest_size=16)
    return f"{content.dtype}{list(content.shape)}{digest.hexdigest()}"


def biased(node: ir.Node) -> tuple[ir.Value, NDArray[np.float32] | None]:
    """The product of `node` with its bias: (value, bias or None). A Gemm adds its own; else the only reader may."""
    output = node.outputs[0]
    if is_op(node, "Gemm"):
        addend = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        beta = np.float32(node.attributes.get_float("beta", 1.0))
        return output, None if addend is None else addend.astype(np.float32) * beta
    uses = list(output.uses())
    if len(uses) == 1 and is_op(uses[0].node, "Add") and not output.is_graph_output():
        add = uses[0].node
        bias = constant(add.inputs[1 - uses[0].idx])
        if bias is not None and bias.ndim == 1:
            return add.outputs[0], bias.astype(np.float32)
    return output, None


def _product(node: ir.Node) -> Product | None:
    weight = matrix(node)
    if weight is None:
        return None
    value, bias = biased(node)
    if value.is_graph_output():
        return None  # the logits themselves
    outputs = weight.shape[1]
    if is_op(node, "Gemm") and not _adds_a_bias(node, bias, outputs):
        return None
    return Product(
        name=_name(node.outputs[0]),
        output=_name(value),
        weight=weight,
        bias=np.zeros(outputs, dtype=np.float32) if bias is None else np.broadcast_to(bias.ravel(), (outputs,)),
        key=content_key(weight),
    )


def _adds_a_bias(gemm: ir.Node, bias: NDArray[np.float32] | None, outputs: int) -> bool:
    """Whether what `gemm` adds is nothing, or a constant that is the same for every row."""
    if bias is None:
        return len(gemm.inputs) < 3 or gemm.inputs[2] is None
    return bias.size == 1 or (bias.size == outputs and bias.shape[-1] == outputs)


def _is_matrix(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    content = constant(producer.inputs[0] if is_op(producer, "Transpose") and producer is not None else value)
    return content is not None and content.ndim >= 2 and np.issubdtype(content.dtype, np.floating)


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
