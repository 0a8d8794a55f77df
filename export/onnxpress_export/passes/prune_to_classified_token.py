"""Compute the last layer for the one token that the classifier reads."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

from onnxpress_export.passes._graph import add_initializer, constant, is_op

__all__ = ["prune_to_classified_token"]

# Operators whose row for a token depends on that token's rows alone, given constant second inputs.
_PER_TOKEN: Final = frozenset({"Add", "Mul", "Sub", "Div", "Pow", "Gelu", "Relu", "Tanh", "Erf", "Sigmoid", "Cast"})
_TOKEN_AXIS: Final = 1


def prune_to_classified_token(model: ir.Model) -> int:
    """Move the classifier's token gather up to the last attention's query.

    Looks for Gather(hidden, 0, axis=1) on [batch, sequence, features] and narrows the sequence to its first
    token as far up as every reader allows: through operators that treat tokens independently, and through an
    attention's query, whose keys and values still see every token.

    Exact: each narrowed operator computes the rows it keeps from the same numbers as before. Returns the number
    of attentions narrowed, 0 when the classifier reads more than one token (mean pooling).
    """
    graph, pruned = model.graph, 0
    for gather in [node for node in graph if _reads_first_token(node)]:
        narrowed = _narrowed_nodes(graph, gather)
        attentions = sum(is_op(node, "MultiHeadAttention", "com.microsoft") for node in narrowed)
        if attentions:
            _narrow(graph, gather, narrowed)
            pruned += attentions
    return pruned


def _reads_first_token(node: ir.Node) -> bool:
    if not is_op(node, "Gather") or node.attributes.get_int("axis", 0) != _TOKEN_AXIS:
        return False
    hidden, index = node.inputs[0], constant(node.inputs[1])
    return _has_tokens(hidden) and index is not None and index.shape == () and int(index) == 0


def _has_tokens(value: ir.Value | None) -> bool:
    """Whether `value` is [batch, sequence, features] with a sequence of its own length."""
    return (
        value is not None
        and value.shape is not None
        and len(value.shape) == 3
        and isinstance(value.shape[_TOKEN_AXIS], ir.SymbolicDim)
    )


def _narrowed_nodes(graph: ir.Graph, gather: ir.Node) -> list[ir.Node]:
    """The nodes above `gather` all of whose readers need one token only, last first."""
    narrowed = {gather}
    order = []
    for node in reversed(list(graph)):
        readers = [use for output in node.outputs for use in output.uses()]
        if (
            readers
            and not any(output.is_graph_output() for output in node.outputs)
            and all(use.node in narrowed and use.idx in _token_inputs(use.node) for use in readers)
            and _token_inputs(node)
            and node is not gather
        ):
            narrowed.add(node)
            order.append(node)
    return order


def _token_inputs(node: ir.Node) -> tuple[int, ...]:
    """The inputs that narrow with the node's output; none when the node does not treat tokens independently."""
    inputs = node.inputs
    if _reads_first_token(node):
        return (0,)
    if not _has_tokens(node.outputs[0]):
        return ()
    if is_op(node, "MultiHeadAttention", "com.microsoft"):
        has_bias_per_query = len(inputs) > 5 and inputs[5] is not None
        return () if has_bias_per_query or len(node.outputs) > 1 else (0,)
    if is_op(node, "MatMul"):
        weight = inputs[1]
        return (0,) if _has_tokens(inputs[0]) and constant(weight) is not None else ()
    if is_op(node, "LayerNormalization"):
        axis = node.attributes.get_int("axis", -1)
        return (0,) if axis in (-1, 2) and len(node.outputs) == 1 and _has_tokens(inputs[0]) else ()
    if node.domain == "" and node.op_type in _PER_TOKEN:
        moving = tuple(index for index, value in enumerate(inputs) if _has_tokens(value))
        rest = [value for index, value in enumerate(inputs) if index not in moving]
        return moving if all(_is_alike_for_all_tokens(value) for value in rest) else ()
    return ()


def _is_alike_for_all_tokens(value: ir.Value | None) -> bool:
    content = constant(value)
    return content is not None and (content.ndim < 2 or content.shape[-2] == 1)


def _narrow(graph: ir.Graph, gather: ir.Node, narrowed: list[ir.Node]) -> None:
    """Slice the first token off what flows into the `narrowed` nodes, and shorten the shapes they state."""
    inside = {output for node in narrowed for output in node.outputs}
    sliced: dict[ir.Value, ir.Value] = {}
    for node in (*narrowed, gather):
        for index in _token_inputs(node):
            value = node.inputs[index]
            assert value is not None
            if value not in inside:
                if value not in sliced:
                    sliced[value] = _first_token(graph, value)
                node.replace_input_with(index, sliced[value])
    for output in inside:
        output.shape = _one_token(output)


def _first_token(graph: ir.Graph, value: ir.Value) -> ir.Value:
    start, stop, axis = (
        add_initializer(graph, f"first_token_{name}", np.array([number], dtype=np.int64))
        for name, number in (("start", 0), ("stop", 1), ("axis", _TOKEN_AXIS))
    )
    node = ir.node("Slice", [value, start, stop, axis], name=f"{value.name}_first_token")
    node.outputs[0].name = f"{value.name}_first_token"
    node.outputs[0].shape = _one_token(value)
    node.outputs[0].type = value.type
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], node)
    else:
        graph.insert_after(producer, node)
    return node.outputs[0]


def _one_token(value: ir.Value) -> ir.Shape:
    assert value.shape is not None
    return ir.Shape([value.shape[0], 1, value.shape[2]])
