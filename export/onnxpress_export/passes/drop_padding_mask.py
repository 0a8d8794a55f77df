"""The variant for batches without padding."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxpress_export.passes._graph import is_op

__all__ = ["drop_padding_mask"]

_KEY_PADDING_MASK = 4  # MultiHeadAttention's inputs: query, key, value, bias, key_padding_mask, …


def drop_padding_mask(model: ir.Model) -> int:
    """Remove the padding mask from every attention, and the graph input that it came from.

    Exact where every row has the same length: the mask is then all ones and changes no score. What reads its shape
    reads that of `input_ids`, which is the same. Returns the number of attentions rewritten. The input stays when
    anything else reads it.
    """
    inputs = {value.name: value for value in model.graph.inputs}
    mask = inputs.get("attention_mask")
    if mask is None:
        return 0
    rewritten = 0
    for node in model.graph:
        if is_op(node, "MultiHeadAttention", "com.microsoft") and _has_padding_mask(node):
            node.replace_input_with(_KEY_PADDING_MASK, None)
            rewritten += 1
        elif is_op(node, "Shape") and node.inputs[0] is mask:
            node.replace_input_with(0, inputs["input_ids"])
    RemoveUnusedNodesPass()(model)  # the mask's own Cast, which would count as a reader
    if not mask.uses():
        model.graph.inputs.remove(mask)
    return rewritten


def _has_padding_mask(node: ir.Node) -> bool:
    return len(node.inputs) > _KEY_PADDING_MASK and node.inputs[_KEY_PADDING_MASK] is not None
