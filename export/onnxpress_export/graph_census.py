"""Counting what a graph is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import onnx_ir as ir

__all__ = ["operator_counts", "weight_counts"]


def operator_counts(nodes: Iterable[ir.Node]) -> dict[str, int]:
    """How often each operator type occurs, most frequent first."""
    return dict(Counter(node.op_type for node in nodes).most_common())


def weight_counts(graph: ir.Graph) -> dict[str, int]:
    """How many numbers of each type the graph's weights hold, most numerous type first."""
    counts: Counter[str] = Counter()
    for value in graph.initializers.values():
        if (tensor := value.const_value) is not None:
            counts[tensor.dtype.name.lower()] += tensor.size
    return dict(counts.most_common())
