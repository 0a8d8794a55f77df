"""Operators that treat tokens independently."""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from onnxpress_export.passes._graph import constant

__all__ = ["PER_TOKEN", "is_alike_for_all_tokens"]

PER_TOKEN: Final = frozenset("Add Cast Div Erf Gelu Mul Neg Pow Reciprocal Relu Sigmoid Sqrt Sub Tanh".split())
"""ONNX's own operators whose row for a token depends on that token's rows alone, given inputs alike for all tokens."""


def is_alike_for_all_tokens(value: ir.Value | None) -> bool:
    """Whether `value` is a constant without a row for each token."""
    content = constant(value)
    return content is not None and (content.ndim < 2 or content.shape[-2] == 1)
