"""The variant for batches of texts of different lengths: no padding in what treats tokens independently."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

from onnxpress_export.passes._graph import add_initializer, add_node, constant, is_op
from onnxpress_export.passes._per_token import PER_TOKEN, is_alike_for_all_tokens

__all__ = ["pack_tokens"]

_MICROSOFT: Final = "com.microsoft"
_KEY: Final = 1  # MultiHeadAttention's inputs: query, key, value, …
_PROJECTED: Final = 3


def pack_tokens(model: ir.Model) -> int:
    """Compute everything but attention on the tokens that are not padding, in one row: [1, tokens, features].

    From the value that the first attention's key is projected from, operators that treat tokens independently take
    the packed tokens. Before an attention they are laid out as [batch, sequence, features] again, padding being
    copies of the first token, which the mask hides; behind it the padding is dropped.

    Exact: each kept token is computed from the same numbers. The graph's inputs stay, and what cannot take packed
    tokens reads them laid out. Returns the number of attentions whose projections are packed, 0 without a mask.
    """
    graph = model.graph
    mask = next((value for value in graph.inputs if value.name == "attention_mask"), None)
    attentions = [node for node in graph if is_op(node, "MultiHeadAttention", _MICROSOFT)]
    if mask is None or not attentions or "packed_positions" in {node.name for node in graph}:
        return 0
    source = _projected_from(attentions[0].inputs[_KEY])
    if source is None or source.shape is None or not isinstance(source.shape[-1], int):
        return 0
    packing = _Packing(mask)
    packing.pack(source)
    packed = sum(packing.rewrite(node) for node in list(graph))
    graph.sort()
    return packed


class _Packing:
    """What is packed so far.

    `_twins` are the packed forms of values that are laid out too; `_packed` are values that are packed alone.
    """

    def __init__(self, mask: ir.Value) -> None:
        graph = mask.graph
        assert isinstance(graph, ir.Graph)
        self._graph = graph
        self._mask = mask
        self._twins: dict[ir.Value, ir.Value] = {}
        self._packed: set[ir.Value] = set()
        self._laid_out: dict[ir.Value, ir.Value] = {}
        flat = add_node("Reshape", [mask, self._integers("all", [-1])], "packed_mask")
        self._positions = add_node("NonZero", [flat], "packed_positions")  # [1, tokens]
        counted = add_node("CumSum", [flat, self._integers("axis", 0)], "packed_count")
        places = add_node("Sub", [counted, self._integers("one", 1)], "packed_places")
        inside = add_node("Max", [places, self._integers("zero", 0)], "packed_places_inside")
        shape = add_node("Shape", [mask], "packed_shape")
        self._places = add_node("Reshape", [inside, shape], "packed_layout")  # [batch, sequence]

    def pack(self, value: ir.Value) -> None:
        """Make a packed twin of `value`, [batch, sequence, features]."""
        features = None if value.shape is None else value.shape[-1]
        assert isinstance(features, int)
        rows = add_node("Reshape", [value, self._integers(f"rows_of_{features}", [-1, features])], f"{value.name}_rows")
        self._twins[value] = add_node("Gather", [rows, self._positions], f"{value.name}_packed", axis=0)

    def rewrite(self, node: ir.Node) -> bool:
        """Let `node` take packed tokens where it can, else laid out ones. Whether it is a packed attention."""
        moving = [index for index, value in enumerate(node.inputs) if value in self._packed or value in self._twins]
        if not moving:
            return False
        if _treats_tokens_alone(node, moving):
            for index in moving:
                value = node.inputs[index]
                assert value is not None
                node.replace_input_with(index, self._twins.get(value, value))
            for output in node.outputs:
                features = None if output.shape is None else output.shape[-1]
                output.shape = ir.Shape([1, None, features])
                self._packed.add(output)
            return False
        for index in moving:
            if (value := node.inputs[index]) in self._packed:
                node.replace_input_with(index, self._lay_out(value))
        whole = is_op(node, "MultiHeadAttention", _MICROSOFT) and set(range(_PROJECTED)) <= set(moving)
        if whole:
            self.pack(node.outputs[0])
        return whole

    def _lay_out(self, value: ir.Value) -> ir.Value:
        """Packed tokens as [batch, sequence, features]."""
        if value not in self._laid_out:
            rows = add_node("Gather", [value, self._places], f"{value.name}_rows", axis=1)
            laid_out = add_node("Squeeze", [rows, self._integers("rows", [0])], f"{value.name}_laid_out")
            assert self._mask.shape is not None and value.shape is not None
            laid_out.type, laid_out.shape = value.type, ir.Shape([*self._mask.shape, value.shape[-1]])
            self._laid_out[value] = laid_out
        return self._laid_out[value]

    def _integers(self, name: str, content: int | list[int]) -> ir.Value:
        return add_initializer(self._graph, f"packed_{name}", np.array(content, dtype=np.int64))


def _projected_from(value: ir.Value | None) -> ir.Value | None:
    """What `value` is a projection of: above products, sums of them, biases, smoothing and quantization."""
    node = None if value is None else value.producer()
    if node is None or not node.inputs or is_op(node, "LayerNormalization"):
        return value
    moving = [index for index, operand in enumerate(node.inputs) if not _is_fixed(operand)]
    if not moving or not _treats_tokens_alone(node, moving):
        return value
    roots = {_projected_from(node.inputs[index]) for index in moving}
    return roots.pop() if len(roots) == 1 else value


def _treats_tokens_alone(node: ir.Node, moving: list[int]) -> bool:
    """Whether each token's output depends on that token's part of the inputs `moving` alone."""
    rest = [value for index, value in enumerate(node.inputs) if index not in moving]
    if is_op(node, "MatMul") or is_op(node, "MatMulIntegerToFloat", _MICROSOFT):
        return moving == [0] and all(value is None or _is_fixed(value) for value in rest)
    if is_op(node, "LayerNormalization"):
        return moving == [0] and node.attributes.get_int("axis", -1) in (-1, 2) and len(node.outputs) == 1
    if is_op(node, "Gather"):  # of channels
        return moving == [0] and node.attributes.get_int("axis", 0) in (-1, 2) and constant(node.inputs[1]) is not None
    if is_op(node, "QuantizeLinear", _MICROSOFT) or is_op(node, "DequantizeLinear", _MICROSOFT):
        return moving == [0] and all((content := constant(value)) is not None and not content.ndim for value in rest)
    return node.domain == "" and node.op_type in PER_TOKEN and all(is_alike_for_all_tokens(value) for value in rest)


def _is_fixed(value: ir.Value | None) -> bool:
    """Whether `value` is a constant, or one that is cast."""
    if value is None or constant(value) is not None:
        return True
    node = value.producer()
    return node is not None and is_op(node, "Cast") and _is_fixed(node.inputs[0])
