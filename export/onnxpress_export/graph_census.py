"""Counting what a graph is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import onnx_ir as ir

__all__ = ["FUSED_OPERATORS", "fused_counts", "operator_counts"]

FUSED_OPERATORS: Final = (
    "MultiHeadAttention",
    "SkipLayerNormalization",
    "BiasGelu",
    "FusedGemm",
    "FusedMatMul",
)


def operator_counts(nodes: Iterable[ir.Node]) -> dict[str, int]:
    """How often each operator type occurs, most frequent first."""
    return dict(Counter(node.op_type for node in nodes).most_common())


def fused_counts(operators: dict[str, int]) -> dict[str, int]:
    """The fused operators among `operators`."""
    return {name: operators[name] for name in FUSED_OPERATORS if name in operators}
