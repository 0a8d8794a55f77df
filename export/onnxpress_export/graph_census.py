"""Counting what a graph is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import onnx_ir as ir

__all__ = ["attention_count", "operator_counts", "unfused_attentions", "weight_counts"]

_ATTENTIONS: Final = ("MultiHeadAttention", "Attention")
_SCORES: Final = (3, 4, 5)  # dimensions: with heads folded into the batch, apart, or by blocks
_MOVING: Final = frozenset(
    "Cast Concat Dropout Expand Gather Identity Reshape Slice Squeeze Transpose Unsqueeze Where".split()
)


def operator_counts(nodes: Iterable[ir.Node]) -> dict[str, int]:
    """How often each operator type occurs, most frequent first."""
    return dict(Counter(node.op_type for node in nodes).most_common())


def attention_count(operators: Mapping[str, int]) -> int:
    """How many of `operators`, as `operator_counts` gives them, are whole attentions."""
    return sum(operators.get(name, 0) for name in _ATTENTIONS)


def unfused_attentions(graph: ir.Graph) -> int:
    """How many attentions are written out: a softmax over scores of [.., queries, keys] that multiplies something."""
    return sum(
        node.op_type == "Softmax"
        and (rank := _rank(node.outputs[0])) in _SCORES
        and node.attributes.get_int("axis", -1) in (-1, rank - 1)
        and _multiplies(node.outputs[0])
        for node in graph
    )


def _rank(value: ir.Value) -> int:
    """Dimensions; 0 where they are not known."""
    return 0 if value.shape is None else len(value.shape)


def _multiplies(value: ir.Value) -> bool:
    """Whether a product reads `value`, as it is or behind what moves its numbers."""
    return any(
        use.node.op_type in ("MatMul", "Einsum", "Gemm")
        or (use.node.op_type in _MOVING and any(_multiplies(output) for output in use.node.outputs))
        for use in value.uses()
    )


def weight_counts(graph: ir.Graph) -> dict[str, int]:
    """How many numbers of each type the graph's weights hold, most numerous type first."""
    counts: Counter[str] = Counter()
    for value in graph.initializers.values():
        if (tensor := value.const_value) is not None:
            counts[tensor.dtype.name.lower()] += tensor.size
    return dict(counts.most_common())
