"""The variant for batches of texts of different lengths: no padding in what treats tokens independently.

Three kinds of values belong to tokens: laid out, [batch, sequence, features]; the same flat, [batch * sequence,
features], as a Gemm takes them; and packed, only the tokens that are no padding, [1, tokens, features] or [tokens,
features]. A value may exist laid out and packed; then the packed one is its twin.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

from onnxpress_export.passes._graph import add_initializer, add_node, constant, is_op
from onnxpress_export.passes._per_token import PER_TOKEN, is_alike_for_all_tokens

__all__ = ["pack_tokens"]

_MICROSOFT: Final = "com.microsoft"
_LAID_OUT: Final = 3  # dimensions
_FLAT: Final = 2


def pack_tokens(model: ir.Model) -> int:
    """Compute what treats tokens independently on the tokens that are not padding, in one row: [1, tokens, features].

    The first product, or quantization, of the tokens' features packs them; so does each behind an operator that mixes
    tokens or needs their positions: attention, rotary positions, a convolution. Between these, operators that treat
    tokens independently take packed tokens, and pack what else they read of the tokens (residual sums). All others have
    them laid out again, padding being copies of the first token.

    Exact: each kept token is computed from the same numbers. Padding is as arbitrary behind this pass as before it,
    since what hides it stays laid out: an attention's mask, and whatever multiplies or sums tokens by a mask. Returns
    the number of attentions whose output is packed; 0, without a mask too, is a graph that is not worth writing.
    """
    graph = model.graph
    mask = next((value for value in graph.inputs if value.name == "attention_mask"), None)
    attentions = [node.outputs[0] for node in graph if is_op(node, "MultiHeadAttention", _MICROSOFT)]
    if mask is None or not attentions or "packed_positions" in {node.name for node in graph}:
        return 0
    packing = _Packing(mask, _content(graph))
    outputs = [value for value in graph.outputs if packing.is_of_tokens(value)]
    for node in list(graph):
        packing.rewrite(node)
    for value in outputs:
        packing.give_flat(value)
    graph.sort()
    return sum(packing.packs(value) for value in attentions)


class _Packing:
    """What is packed so far.

    `_twins` are the packed forms of values that are laid out or flat too; `_packed` are values that are packed alone,
    `_flat` those that are flat alone. What is laid out shows it by its shape.
    """

    def __init__(self, mask: ir.Value, content: set[ir.Value]) -> None:
        graph = mask.graph
        assert isinstance(graph, ir.Graph)
        self._graph = graph
        self._mask = mask
        self._content = content
        self._twins: dict[ir.Value, ir.Value] = {}
        self._packed: set[ir.Value] = set()
        self._flat: set[ir.Value] = set()
        self._flat_positions: ir.Value | None = None
        self._laid_out: dict[ir.Value, ir.Value] = {}
        flat = add_node("Reshape", [mask, self._integers("all", [-1])], "packed_mask")
        self._positions = add_node("NonZero", [flat], "packed_positions")  # [1, tokens]
        counted = add_node("CumSum", [flat, self._integers("axis", 0)], "packed_count")
        places = add_node("Sub", [counted, self._integers("one", 1)], "packed_places")
        inside = add_node("Max", [places, self._integers("zero", 0)], "packed_places_inside")
        shape = add_node("Shape", [mask], "packed_shape")
        self._places = add_node("Reshape", [inside, shape], "packed_layout")  # [batch, sequence]

    def packs(self, value: ir.Value) -> bool:
        """Whether `value`, or what a Reshape alone makes of it, is packed for its readers."""
        reshaped = [use.node.outputs[0] for use in value.uses() if is_op(use.node, "Reshape")]
        return any(form in self._twins for form in (value, *reshaped))

    def is_of_tokens(self, value: ir.Value) -> bool:
        """Whether `value` has features for each token, laid out."""
        return self._is_laid_out(value)

    def give_flat(self, output: ir.Value) -> None:
        """Let the graph give `output`, which is of tokens, without padding: [tokens, features]."""
        name = output.name
        packed = output if output in self._packed else self._twin(output)
        flat = add_node("Squeeze", [packed, self._integers("rows", [0])], f"{name}_packed_rows")
        flat.type, flat.shape = output.type, ir.Shape([None, _size(output)])
        output.name, flat.name = f"{name}_of_tokens", name
        outputs = self._graph.outputs
        outputs[list(outputs).index(output)] = flat

    def rewrite(self, node: ir.Node) -> None:
        """Let `node` take packed tokens where it can and should, else laid out ones."""
        moving = [index for index, value in enumerate(node.inputs) if self._is_tokens(value)]
        tokens = [value for index in moving if (value := node.inputs[index]) is not None]
        worth = _is_heavy(node) or any(value in self._packed or value in self._twins for value in tokens)
        if tokens and worth and self._can_pack(node, moving, tokens):
            self._pack_node(node, moving)
            return
        for index, value in zip(moving, tokens, strict=True):
            if value in self._packed:
                node.replace_input_with(index, self._lay_out(value))
        if self._reshapes_tokens(node):
            self._flat.add(node.outputs[0])

    def _is_tokens(self, value: ir.Value | None) -> bool:
        """Whether `value` has features for each token, in any of the three ways."""
        return value is not None and (value in self._packed or value in self._flat or self._is_laid_out(value))

    def _is_laid_out(self, value: ir.Value) -> bool:
        assert self._mask.shape is not None
        return (
            value.shape is not None
            and len(value.shape) == _LAID_OUT
            and list(value.shape[:2]) == list(self._mask.shape)
            and _features(value) is not None
        )

    def _can_pack(self, node: ir.Node, moving: list[int], tokens: list[ir.Value]) -> bool:
        """Whether `node` treats tokens alone, and none of its `tokens` is a mask, which says what padding becomes."""
        if not all(value in self._packed or value in self._content for value in tokens):
            return False
        return self._reshapes_tokens(node) or _treats_tokens_alone(node, moving)

    def _reshapes_tokens(self, node: ir.Node) -> bool:
        """Whether `node` makes laid out tokens flat, or flat ones laid out."""
        value, output = node.inputs[0] if node.inputs else None, node.outputs[0]
        if not is_op(node, "Reshape") or value is None or not self._is_tokens(value) or output.shape is None:
            return False
        there = len(output.shape) == _FLAT if _rank(value) == _LAID_OUT else self._is_laid_out(output)
        return there and _features(value) is not None and _features(value) == _features(output)

    def _pack_node(self, node: ir.Node, moving: list[int]) -> None:
        flat = False
        for index in moving:
            value = node.inputs[index]
            assert value is not None
            flat = _rank(value) == _FLAT
            node.replace_input_with(index, value if value in self._packed else self._twin(value))
        if is_op(node, "Reshape"):
            flat, features = not flat, _size(node.outputs[0])
            shape = [-1, features] if flat else [1, -1, features]
            node.replace_input_with(1, self._integers(f"{'rows' if flat else 'row'}_of_{features}", shape))
        for output in node.outputs:
            output.shape = ir.Shape([None, _features(output)] if flat else [1, None, _features(output)])
            self._packed.add(output)

    def _twin(self, value: ir.Value) -> ir.Value:
        """The packed form of `value`, which is laid out or flat."""
        if value not in self._twins:
            features, flat, rows, positions = _size(value), _rank(value) == _FLAT, value, self._positions
            if flat:
                positions = self._row_positions()
            else:
                rows = add_node(
                    "Reshape", [value, self._integers(f"rows_of_{features}", [-1, features])], f"{value.name}_rows"
                )
            twin = add_node("Gather", [rows, positions], f"{value.name}_packed", axis=0)
            twin.type, twin.shape = value.type, ir.Shape([None, features] if flat else [1, None, features])
            self._twins[value] = twin
        return self._twins[value]

    def _lay_out(self, value: ir.Value) -> ir.Value:
        """Packed tokens as [batch, sequence, features], or flat where they were."""
        if value not in self._laid_out:
            assert self._mask.shape is not None
            if _rank(value) == _FLAT:
                rows = add_node("Gather", [value, self._places], f"{value.name}_rows", axis=0)
                flat = self._integers(f"rows_of_{_size(value)}", [-1, _size(value)])
                laid_out = add_node("Reshape", [rows, flat], f"{value.name}_laid_out")
                laid_out.shape = ir.Shape([None, _size(value)])
            else:
                rows = add_node("Gather", [value, self._places], f"{value.name}_rows", axis=1)
                laid_out = add_node("Squeeze", [rows, self._integers("rows", [0])], f"{value.name}_laid_out")
                laid_out.shape = ir.Shape([*self._mask.shape, _features(value)])
            laid_out.type = value.type
            self._laid_out[value] = laid_out
        return self._laid_out[value]

    def _row_positions(self) -> ir.Value:
        """The positions, [tokens]."""
        if self._flat_positions is None:
            squeezed = [self._positions, self._integers("rows", [0])]
            self._flat_positions = add_node("Squeeze", squeezed, "packed_row_positions")
        return self._flat_positions

    def _integers(self, name: str, content: int | list[int]) -> ir.Value:
        return add_initializer(self._graph, f"packed_{name}", np.array(content, dtype=np.int64))


def _content(graph: ir.Graph) -> set[ir.Value]:
    """What is made of a token's embedding, and so of more than which tokens there are."""
    content: set[ir.Value] = set()
    for node in graph:
        embeds = is_op(node, "Gather") and _is_fixed(node.inputs[0]) and constant(node.inputs[1]) is None
        if embeds or (not is_op(node, "Shape") and any(value in content for value in node.inputs)):
            content.update(node.outputs)
    return content


def _features(value: ir.Value) -> int | None:
    """The last dimension, where it is known."""
    last = None if value.shape is None else value.shape[-1]
    return last if isinstance(last, int) else None


def _size(value: ir.Value) -> int:
    """`_features`, which are known."""
    features = _features(value)
    assert features is not None
    return features


def _rank(value: ir.Value | None) -> int:
    """How many dimensions `value` has; what is not known is of laid out or packed tokens."""
    return _LAID_OUT if value is None or value.shape is None else len(value.shape)


def _is_heavy(node: ir.Node) -> bool:
    """Whether `node` is worth packing its input for."""
    heavy = ("MatMul", ""), ("Gemm", ""), ("MatMulIntegerToFloat", _MICROSOFT), ("QuantizeLinear", _MICROSOFT)
    return any(is_op(node, name, domain) for name, domain in heavy)


def _treats_tokens_alone(node: ir.Node, moving: list[int]) -> bool:
    """Whether each token's output depends on that token's part of the inputs `moving` alone."""
    rest = [value for index, value in enumerate(node.inputs) if index not in moving]
    last = (-1, _rank(node.inputs[0]) - 1)
    if is_op(node, "MatMul") or is_op(node, "MatMulIntegerToFloat", _MICROSOFT):
        return moving == [0] and all(value is None or _is_fixed(value) for value in rest)
    if is_op(node, "Gemm"):
        return moving == [0] and not node.attributes.get_int("transA", 0) and all(map(_is_fixed, rest))
    if is_op(node, "LayerNormalization"):
        return moving == [0] and node.attributes.get_int("axis", -1) in last and len(node.outputs) == 1
    if is_op(node, "ReduceMean"):
        axes, keeps = constant(node.inputs[1]) if len(node.inputs) > 1 else None, node.attributes.get_int("keepdims", 1)
        return moving == [0] and axes is not None and axes.tolist() in [[axis] for axis in last] and bool(keeps)
    if is_op(node, "Split") or is_op(node, "Gather"):  # of channels
        return moving == [0] and node.attributes.get_int("axis", 0) in last and all(map(_is_fixed, rest))
    if is_op(node, "QuantizeLinear", _MICROSOFT) or is_op(node, "DequantizeLinear", _MICROSOFT):
        return moving == [0] and all((content := constant(value)) is not None and not content.ndim for value in rest)
    return node.domain == "" and node.op_type in PER_TOKEN and all(is_alike_for_all_tokens(value) for value in rest)


def _is_fixed(value: ir.Value | None) -> bool:
    """Whether `value` is a constant, or one that is cast."""
    if value is None or constant(value) is not None:
        return True
    node = value.producer()
    return node is not None and is_op(node, "Cast") and _is_fixed(node.inputs[0])
