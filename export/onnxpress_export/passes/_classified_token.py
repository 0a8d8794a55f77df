"""Which token a classifier reads, and how to keep that token's part of a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import onnx_ir as ir

from onnxpress_export.attention.operator import MASKED
from onnxpress_export.passes._graph import add_initializer, add_node, constant, is_op

__all__ = ["TOKEN_AXIS", "ClassifiedToken", "classified_tokens", "has_tokens"]

TOKEN_AXIS: Final = 1
_QUERY_AXIS: Final = 2  # of an attention's bias, [batch or 1, heads or 1, query, key]


class ClassifiedToken(Protocol):
    """A node that reads one token of each row of [batch, sequence, features], and which."""

    @property
    def reader(self) -> ir.Node:
        """The node; its first input is what it reads from."""

    def keep(self, value: ir.Value) -> ir.Value:
        """The token's part of `value`: [batch, sequence, features] to [batch, 1, features]."""

    def keep_bias(self, bias: ir.Value) -> ir.Value | None:
        """What is added to the scores of the token's query: [.., sequence, keys] to [.., 1, keys]; None if unknown."""

    def causal_bias(self, like: ir.Value) -> ir.Value | None:
        """Hides what comes behind the token, [batch, 1, 1, sequence]; None if unknown. `like` is a key."""

    def read_kept(self) -> None:
        """Make the node read the only token that is left."""


@dataclass(frozen=True, slots=True)
class FirstToken:
    """Gather(hidden, 0, axis=1): BERT and its kin, through [CLS]."""

    reader: ir.Node

    def keep(self, value: ir.Value) -> ir.Value:
        return _slice_first(value, TOKEN_AXIS)

    def keep_bias(self, bias: ir.Value) -> ir.Value | None:
        return _slice_first(bias, _QUERY_AXIS)

    def causal_bias(self, like: ir.Value) -> ir.Value | None:
        return None  # no decoder is classified by a token that sees itself alone

    def read_kept(self) -> None:
        """It already reads the first."""


@dataclass(frozen=True, slots=True)
class ChosenToken:
    """GatherND(hidden, [row, token]): decoders, through each row's last token that is not padding."""

    reader: ir.Node

    @property
    def _indices(self) -> ir.Value:
        """(row, token), int64 [batch, 2]."""
        indices = self.reader.inputs[1]
        assert indices is not None
        return indices

    def keep(self, value: ir.Value) -> ir.Value:
        rows = add_node("GatherND", [value, self._indices], f"{value.name}_chosen")
        kept = add_node("Unsqueeze", [rows, _integers(value, "token_axis", [TOKEN_AXIS])], f"{value.name}_chosen_token")
        return _typed(kept, value, _with_one_token(value, TOKEN_AXIS))

    def keep_bias(self, bias: ir.Value) -> ir.Value | None:
        if bias.shape is None or bias.shape[0] != 1:
            return None
        rows = add_node("Gather", [bias, self._token()], f"{bias.name}_chosen", axis=_QUERY_AXIS)
        return add_node("Transpose", [rows], f"{bias.name}_chosen_token", perm=[_QUERY_AXIS, 1, 0, 3])

    def causal_bias(self, like: ir.Value) -> ir.Value | None:
        sequence = add_node("Shape", [like], f"{like.name}_length", start=TOKEN_AXIS, end=TOKEN_AXIS + 1)
        scalar = add_node("Squeeze", [sequence], f"{like.name}_tokens")
        bounds = [_integers(like, name, number) for name, number in (("zero", 0), ("one", 1))]
        positions = add_node("Range", [bounds[0], scalar, bounds[1]], f"{like.name}_positions")
        token = add_node("Unsqueeze", [self._token(), _integers(like, "bias_axes", [1, 2, 3])], f"{like.name}_token")
        hidden = add_node("Greater", [positions, token], f"{like.name}_behind")
        shown, masked = (
            add_initializer(_graph(like), f"causal_{name}", np.array(number, dtype=np.float32))
            for name, number in (("shown", 0.0), ("masked", MASKED))
        )
        return add_node("Where", [hidden, masked, shown], f"{like.name}_causal_bias")

    def read_kept(self) -> None:
        hidden = self.reader.inputs[0]
        assert hidden is not None
        output = self.reader.outputs[0]
        kept = add_node("Squeeze", [hidden, _integers(hidden, "token_axis", [TOKEN_AXIS])], f"{output.name}_kept")
        _typed(kept, hidden, None if output.shape is None else ir.Shape(output.shape))
        output.name, kept.name = kept.name, output.name
        ir.convenience.replace_all_uses_with(output, kept, replace_graph_outputs=True)
        _graph(kept).remove(self.reader, safe=True)

    def _token(self) -> ir.Value:
        """Each row's token, int64 [batch]."""
        index = _integers(self._indices, "token_column", 1)
        return add_node("Gather", [self._indices, index], f"{self._indices.name}_token", axis=1)


def classified_tokens(graph: ir.Graph) -> list[ClassifiedToken]:
    """Every node of `graph` that reads one token of each row."""
    found: list[ClassifiedToken] = []
    for node in graph:
        if is_op(node, "Gather") and node.attributes.get_int("axis", 0) == TOKEN_AXIS and has_tokens(node.inputs[0]):
            index = constant(node.inputs[1])
            if index is not None and index.shape == () and int(index) == 0:
                found.append(FirstToken(node))
        elif is_op(node, "GatherND") and has_tokens(node.inputs[0]) and _numbers_the_rows(node):
            found.append(ChosenToken(node))
    return found


def has_tokens(value: ir.Value | None) -> bool:
    """Whether `value` is [batch, sequence, features] with a sequence of its own length."""
    return (
        value is not None
        and value.shape is not None
        and len(value.shape) == 3
        and isinstance(value.shape[TOKEN_AXIS], ir.SymbolicDim)
    )


def _numbers_the_rows(node: ir.Node) -> bool:
    """Whether the GatherND's indices are (0, 1, 2 … batch - 1) beside one token each."""
    indices = node.inputs[1]
    pair = indices.producer() if indices is not None else None
    if node.attributes.get_int("batch_dims", 0) or pair is None or not is_op(pair, "Concat") or len(pair.inputs) != 2:
        return False
    rows = pair.inputs[0].producer() if pair.inputs[0] is not None else None
    if rows is not None and is_op(rows, "Unsqueeze") and rows.inputs[0] is not None:
        rows = rows.inputs[0].producer()
    if rows is None or not is_op(rows, "Range"):
        return False
    start, step = constant(rows.inputs[0]), constant(rows.inputs[2])
    hidden, counted = node.inputs[0], rows.outputs[0]
    return (
        start is not None
        and step is not None
        and (int(start), int(step)) == (0, 1)
        and hidden is not None
        and hidden.shape is not None
        and counted.shape is not None
        and counted.shape[0] == hidden.shape[0]
    )


def _slice_first(value: ir.Value, axis: int) -> ir.Value:
    bounds = [_integers(value, name, [number]) for name, number in (("start", 0), ("stop", 1), (f"axis_{axis}", axis))]
    return _typed(add_node("Slice", [value, *bounds], f"{value.name}_first_token"), value, _with_one_token(value, axis))


def _with_one_token(value: ir.Value, axis: int) -> ir.Shape | None:
    if value.shape is None:
        return None
    return ir.Shape([1 if index == axis else size for index, size in enumerate(value.shape)])


def _typed(value: ir.Value, like: ir.Value, shape: ir.Shape | None) -> ir.Value:
    value.type, value.shape = like.type, shape
    return value


def _integers(near: ir.Value, name: str, content: int | list[int]) -> ir.Value:
    return add_initializer(_graph(near), f"classified_token_{name}", np.array(content, dtype=np.int64))


def _graph(value: ir.Value) -> ir.Graph:
    graph = value.graph
    assert isinstance(graph, ir.Graph)
    return graph
