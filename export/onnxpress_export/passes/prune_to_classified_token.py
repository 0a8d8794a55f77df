"""Compute the last layer for the one token that the classifier reads."""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from onnxpress_export.passes._classified_token import (
    TOKEN_AXIS,
    ClassifiedToken,
    classified_tokens,
    has_tokens,
)
from onnxpress_export.passes._graph import add_node, constant, is_op
from onnxpress_export.passes._per_token import PER_TOKEN, is_alike_for_all_tokens

__all__ = ["prune_to_classified_token"]

_FEATURES: Final = 2
_BIAS: Final = 5  # MultiHeadAttention's inputs: query, key, value, bias, key_padding_mask, attention_bias, …


def prune_to_classified_token(model: ir.Model) -> int:
    """Move the choice of the classified token up to the last attention's query.

    Looks for what reads one token of [batch, sequence, features]: Gather of the first (BERT), or GatherND of the
    last that is no padding (decoders). Narrows the sequence to that token as far up as every reader allows: through
    operators that treat tokens independently, and through an attention's query, whose keys and values still see
    every token. What a causal attention hides from the token becomes a bias of its only row.

    Exact: each narrowed operator computes the rows it keeps from the same numbers as before. Returns the number
    of attentions narrowed, 0 when the classifier reads more than one token (mean pooling).
    """
    graph, pruned = model.graph, 0
    for token in classified_tokens(graph):
        narrowed = _narrowed_nodes(graph, token)
        attentions = [node for node in narrowed if _is_attention(node)]
        if attentions and all(_narrow_scores(node, token) for node in attentions):
            _narrow(token, narrowed)
            pruned += len(attentions)
    if pruned:
        graph.sort()
    return pruned


def _narrowed_nodes(graph: ir.Graph, token: ClassifiedToken) -> list[ir.Node]:
    """The nodes above the token's reader all of whose readers need one token only, last first."""
    narrowed = {token.reader}
    order: list[ir.Node] = []
    for node in reversed(list(graph)):
        readers = [use for output in node.outputs for use in output.uses()]
        if (
            readers
            and not any(output.is_graph_output() for output in node.outputs)
            and all(use.node in narrowed and use.idx in _token_inputs(use.node, token) for use in readers)
            and _token_inputs(node, token)
            and node is not token.reader
        ):
            narrowed.add(node)
            order.append(node)
    return order


def _token_inputs(node: ir.Node, token: ClassifiedToken) -> tuple[int, ...]:
    """The inputs that narrow with the node's output; none when the node does not treat tokens independently."""
    inputs = node.inputs
    if node is token.reader:
        return (0,)
    if not has_tokens(node.outputs[0]):
        return ()
    if _is_attention(node):
        return (0,) if len(node.outputs) == 1 else ()
    if is_op(node, "MatMul"):
        return (0,) if has_tokens(inputs[0]) and constant(inputs[1]) is not None else ()
    if is_op(node, "LayerNormalization"):
        axis = node.attributes.get_int("axis", -1)
        return (0,) if axis in (-1, _FEATURES) and len(node.outputs) == 1 and has_tokens(inputs[0]) else ()
    if is_op(node, "ReduceMean"):
        axes = constant(inputs[1]) if len(inputs) > 1 else None
        over_features = axes is not None and axes.tolist() in ([-1], [_FEATURES])
        return (0,) if over_features and node.attributes.get_int("keepdims", 1) == 1 else ()
    if is_op(node, "Split"):
        return (0,) if node.attributes.get_int("axis", 0) in (-1, _FEATURES) else ()
    if node.domain == "" and node.op_type in PER_TOKEN:
        moving = tuple(index for index, value in enumerate(inputs) if has_tokens(value))
        rest = [value for index, value in enumerate(inputs) if index not in moving]
        return moving if all(is_alike_for_all_tokens(value) for value in rest) else ()
    return ()


def _is_attention(node: ir.Node) -> bool:
    return is_op(node, "MultiHeadAttention", "com.microsoft")


def _narrow_scores(attention: ir.Node, token: ClassifiedToken) -> bool:
    """Keep the one row of what is added to the scores; False, and nothing changed, where that is not known."""
    bias = attention.inputs[_BIAS] if len(attention.inputs) > _BIAS else None
    kept = [] if bias is None else [token.keep_bias(bias)]
    query, key = attention.inputs[:2]
    assert query is not None and key is not None
    if attention.attributes.get_int("unidirectional", 0):
        kept.append(token.causal_bias(key))  # of all tokens, while the query's may be narrowed too
    known = [value for value in kept if value is not None]
    if len(known) < len(kept):
        return False
    if known:
        total = known[0] if len(known) == 1 else add_node("Add", known, f"{query.name}_bias")
        attention.resize_inputs(max(len(attention.inputs), _BIAS + 1))
        attention.replace_input_with(_BIAS, total)
    attention.attributes.pop("unidirectional", None)
    return True


def _narrow(token: ClassifiedToken, narrowed: list[ir.Node]) -> None:
    """Keep the token of what flows into the `narrowed` nodes, and shorten the shapes they state."""
    inside = {output for node in narrowed for output in node.outputs}
    kept: dict[ir.Value, ir.Value] = {}
    for node in (*narrowed, token.reader):
        for index in _token_inputs(node, token):
            value = node.inputs[index]
            assert value is not None
            if value not in inside:
                if value not in kept:
                    kept[value] = token.keep(value)
                node.replace_input_with(index, kept[value])
    for output in inside:
        assert output.shape is not None
        output.shape = ir.Shape([1 if axis == TOKEN_AXIS else size for axis, size in enumerate(output.shape)])
    token.read_kept()
