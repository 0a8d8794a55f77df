"""Counting what a graph is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import onnx_ir as ir

__all__ = ["attention_count", "operator_counts", "weight_counts"]

_ATTENTIONS: Final = ("MultiHeadAttention", "Attention")


def operator_counts(nodes: Iterable[ir.Node]) -> dict[str, int]:
    """How often each operator type occurs, most frequent first."""
    return dict(Counter(node.op_type for node in nodes).most_common())


def attention_count(operators: Mapping[str, int]) -> int:
    """How many of `operators`, as `operator_counts` gives them, are whole attentions."""
    return sum(operators.get(name, 0) for name in _ATTENTIONS)


def weight_counts(graph: ir.Graph) -> dict[str, int]:
    """How many numbers of each type the graph's weights hold, most numerous type first."""
    counts: Counter[str] = Counter()
    for value in graph.initializers.values():
        if (tensor := value.const_value) is not None:
            counts[tensor.dtype.name.lower()] += tensor.size
    return dict(counts.most_common())
