"""The variant for batches without padding."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxpress_export.passes._graph import is_op

__all__ = ["drop_padding_mask"]

_KEY_PADDING_MASK = 4  # MultiHeadAttention's inputs: query, key, value, bias, key_padding_mask, …


def drop_padding_mask(model: ir.Model) -> int:
    """Remove the padding mask from every attention, and the graph input that it came from.

    Exact where every row has the same length: the mask is then all ones and changes no score. Without it
    ONNX Runtime's CPU attention takes its flash kernel. Returns the number of attentions rewritten. The
    `attention_mask` input stays when something else still reads it.
    """
    rewritten = 0
    for node in model.graph:
        if (
            is_op(node, "MultiHeadAttention", "com.microsoft")
            and len(node.inputs) > _KEY_PADDING_MASK
            and node.inputs[_KEY_PADDING_MASK] is not None
        ):
            node.replace_input_with(_KEY_PADDING_MASK, None)
            rewritten += 1
    RemoveUnusedNodesPass()(model)
    for value in [value for value in model.graph.inputs if value.name == "attention_mask" and not value.uses()]:
        model.graph.inputs.remove(value)
    return rewritten
