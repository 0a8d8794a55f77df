"""Small questions and edits that several passes share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = ["add_initializer", "add_node", "constant", "is_op", "same_shape"]


def is_op(node: ir.Node | None, op_type: str, domain: str = "") -> bool:
    """Whether `node` is the operator `op_type` of `domain` ("" for ONNX's own)."""
    return node is not None and node.op_type == op_type and node.domain == domain


def constant(value: ir.Value | None) -> NDArray[np.generic] | None:
    """The value's constant content, or None when it is computed."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def same_shape(first: ir.Value, second: ir.Value) -> bool:
    """Whether both shapes are known to be equal, dimension by dimension; unnamed dimensions never are."""
    if first.shape is None or second.shape is None or len(first.shape) != len(second.shape):
        return False
    return all(
        a == b and not (isinstance(a, ir.SymbolicDim) and a.value is None)
        for a, b in zip(first.shape, second.shape, strict=True)
    )


def add_initializer(graph: ir.Graph, name: str, content: NDArray[np.generic]) -> ir.Value:
    """Register `content` as the initializer `name`; one of that name must hold the same content already."""
    if (held := graph.initializers.get(name)) is not None:
        found = constant(held)
        if found is None or not np.array_equal(found, content):
            raise ValueError(f"another initializer is called {name!r}")
        return held
    tensor = ir.tensor(content, name=name)
    value = ir.Value(name=name, shape=ir.Shape(content.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def add_node(
    op_type: str, inputs: Sequence[ir.Value], name: str, *, domain: str = "", **attributes: int | list[int]
) -> ir.Value:
    """Add a node of one output, called `name`, at the end of its inputs' graph. Returns the output.

    A name that is taken gets a number. The caller sorts the graph once its edits are done.
    """
    graph = inputs[0].graph
    assert isinstance(graph, ir.Graph)
    taken = {held.name for held in graph}
    name = next(one for one in (name, *(f"{name}_{number}" for number in range(2, len(taken) + 3))) if one not in taken)
    node = ir.node(op_type, inputs, attributes=attributes, name=name, domain=domain)
    node.outputs[0].name = name
    graph.append(node)
    return node.outputs[0]
