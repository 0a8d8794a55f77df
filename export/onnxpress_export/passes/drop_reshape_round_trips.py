"""Remove the head split and merge that transformers puts around a captured attention."""

from __future__ import annotations

import onnx_ir as ir

from onnxpress_export.passes._graph import constant, is_op, same_shape

__all__ = ["drop_reshape_round_trips"]


def drop_reshape_round_trips(model: ir.Model) -> int:
    """Remove each Reshape that gives a tensor the shape it has, and the inner one of two in a row.

    Bit-identical: a Reshape only renames dimensions, so the last one alone decides. One whose target keeps a
    dimension of its input by a literal 0 is left alone. Returns the number of Reshapes removed.
    """
    graph, removed = model.graph, 0
    for node in list(graph):
        if not is_op(node, "Reshape"):
            continue
        source, output = node.inputs[0], node.outputs[0]
        assert source is not None
        inner = source.producer()
        if inner is not None and is_op(inner, "Reshape") and not _keeps_a_dimension(node):
            node.replace_input_with(0, inner.inputs[0])
            source = node.inputs[0]
            assert source is not None
            if not inner.outputs[0].uses() and not inner.outputs[0].is_graph_output():
                graph.remove(inner, safe=True)
                removed += 1
        if same_shape(source, output) and not output.is_graph_output():
            output.replace_all_uses_with(source)
            graph.remove(node, safe=True)
            removed += 1
    return removed


def _keeps_a_dimension(node: ir.Node) -> bool:
    """Whether the target shape holds a literal 0 that means "as in the input"."""
    if node.attributes.get_int("allowzero", 0):
        return False
    target = node.inputs[1]
    producer = target.producer() if target is not None else None
    parts = producer.inputs if producer is not None and is_op(producer, "Concat") else (target,)
    literals = [constant(part) for part in parts]
    return any(literal is not None and (literal == 0).any() for literal in literals)
