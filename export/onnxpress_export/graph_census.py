"""Counting what a graph is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import onnx_ir as ir

__all__ = ["operator_counts"]


def operator_counts(nodes: Iterable[ir.Node]) -> dict[str, int]:
    """How often each operator type occurs, most frequent first."""
    return dict(Counter(node.op_type for node in nodes).most_common())
