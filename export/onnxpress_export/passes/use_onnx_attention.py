"""ONNX's own Attention, whose CPU kernel is faster than MultiHeadAttention's."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

from onnxpress_export.attention.operator import MASKED
from onnxpress_export.passes._graph import add_initializer, add_node, is_op

__all__ = ["use_onnx_attention"]

_OPSET: Final = 23
_SEQUENCE: Final = 1
_INPUTS: Final = ("query", "key", "value", "projection_bias", "padding", "score_bias")
_ATTRIBUTES: Final = frozenset({"num_heads", "scale", "unidirectional"})


def use_onnx_attention(model: ir.Model) -> int:
    """Replace each MultiHeadAttention by the Attention of opset 23, in place. Returns the number replaced.

    Exact: the same sums. ONNX Runtime's kernel reads queries, keys and values where they lie; MultiHeadAttention's
    lays them out by heads first. A padding mask becomes what is added to the scores, MASKED for a hidden key, made
    once for all attentions; a bias of the scores is added to it.

    An attention stays that has a bias of its projections, or a mask while it is not known that there are as many
    queries as keys, or one.
    """
    graph = model.graph
    masks = _Masks(graph)
    attentions = [node for node in graph if is_op(node, "MultiHeadAttention", "com.microsoft")]
    replaced = sum(_replace(node, masks) for node in attentions)
    if replaced:
        graph.opset_imports[""] = max(graph.opset_imports.get("", 0), _OPSET)
        graph.sort()
    return replaced


def _replace(node: ir.Node, masks: _Masks) -> bool:
    operands = dict(zip(_INPUTS, node.inputs, strict=False))
    query, key, value = (operands[name] for name in _INPUTS[:3])
    padding, added = operands.get("padding"), operands.get("score_bias")
    end = node.outputs[0]
    assert query is not None and node.graph is not None
    known = len(node.inputs) <= len(_INPUTS) and len(node.outputs) == 1 and node.attributes.keys() <= _ATTRIBUTES
    if not known or operands.get("projection_bias") is not None:
        return False
    if padding is not None:
        hidden = masks.for_queries(query, padding)
        if hidden is None:
            return False
        added = hidden if added is None else add_node("Add", [added, hidden], f"{end.name}_added")
    heads = node.attributes.get_int("num_heads", 1)
    attributes: dict[str, int | float] = {"q_num_heads": heads, "kv_num_heads": heads}
    if "scale" in node.attributes:
        attributes["scale"] = node.attributes.get_float("scale", 1.0)
    if node.attributes.get_int("unidirectional", 0):
        attributes["is_causal"] = 1
    attention = ir.node("Attention", [query, key, value, added], attributes=attributes, name=node.name)
    output = attention.outputs[0]
    output.name, output.type, output.shape = end.name, end.type, end.shape
    node.graph.insert_before(node, attention)
    end.replace_all_uses_with(output, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)
    return True


class _Masks:
    """Padding masks as what is added to the scores, each made once."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._rows: dict[ir.Value, ir.Value] = {}
        self._squares: dict[ir.Value, ir.Value] = {}

    def for_queries(self, query: ir.Value, padding: ir.Value) -> ir.Value | None:
        """Of `padding`, 1 for a key that is seen, [batch, keys]: float32 [batch, 1, queries, keys].

        None where it is not known that there are as many queries as keys, or one.
        """
        if query.shape is None or padding.shape is None:
            return None
        queries, keys = query.shape[_SEQUENCE], padding.shape[_SEQUENCE]
        if queries == 1:
            return self._row(padding)
        same = queries == keys and not (isinstance(queries, ir.SymbolicDim) and queries.value is None)
        return self._square(padding) if same else None

    def _row(self, padding: ir.Value) -> ir.Value:
        """For one query, [batch, 1, 1, keys]."""
        if padding not in self._rows:
            seen = add_node("Cast", [padding], f"{padding.name}_seen", to=int(ir.DataType.FLOAT))
            hidden = add_node("Sub", [self._constant("one", np.float32(1)), seen], f"{padding.name}_hidden")
            added = add_node("Mul", [hidden, self._constant("masked", np.float32(MASKED))], f"{padding.name}_added")
            axes = self._constant("axes", np.array([1, 2]))
            self._rows[padding] = add_node("Unsqueeze", [added, axes], f"{padding.name}_row")
        return self._rows[padding]

    def _square(self, padding: ir.Value) -> ir.Value:
        """For as many queries as keys: ONNX Runtime's kernel does not repeat a row."""
        if padding not in self._squares:
            queries = add_node("Shape", [padding], f"{padding.name}_queries", start=1, end=2)
            one = self._constant("ones", np.array([1]))
            shape = add_node("Concat", [one, one, queries, one], f"{padding.name}_shape", axis=0)
            self._squares[padding] = add_node("Expand", [self._row(padding), shape], f"{padding.name}_square")
        return self._squares[padding]

    def _constant(self, name: str, content: np.ndarray | np.generic) -> ir.Value:
        return add_initializer(self._graph, f"attention_{name}", np.asarray(content))
