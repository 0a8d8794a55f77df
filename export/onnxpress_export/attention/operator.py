"""The one operator that every attention becomes."""

from __future__ import annotations

from typing import Any, Final

import torch

__all__ = ["MASKED", "MULTI_HEAD_ATTENTION", "additive", "multi_head_attention"]

MULTI_HEAD_ATTENTION: Final = "com.microsoft::MultiHeadAttention"

MASKED: Final = -10_000.0
"""Added to the score of a hidden token: exp of it is 0 in float32, it fits float16, and two of them stay finite.

It is ONNX Runtime's own default for padding (`mask_filter_value`).
"""


def multi_head_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    padding: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    causal: bool = False,
) -> torch.Tensor:
    """One MultiHeadAttention node: softmax(scale · query · keyᵀ + bias) · value, over the keys that are not hidden.

    Args:
        query: [batch, heads, sequence, head size].
        key: As `query`; fewer heads are repeated, each serving a group of the query's (grouped-query attention).
        value: As `key`.
        scale: Multiplies the scores.
        padding: 1 for each token that may be seen, 0 for padding, [batch, sequence].
        bias: Added to the scores, [batch or 1, heads or 1, sequence, sequence].
        causal: Whether a token sees only itself and those before it.

    Returns:
        [batch, sequence, heads, head size].
    """
    heads, head_size = query.shape[1], query.shape[3]
    inputs: list[torch.Tensor | None] = [_merge_heads(t, heads) for t in (query, key, value)]
    merged = inputs[0]
    assert merged is not None
    inputs += [None, None if padding is None else padding.to(torch.int32), bias]
    while inputs[-1] is None:
        inputs.pop()
    attributes: dict[str, Any] = {"num_heads": heads, "scale": float(scale)}
    output = torch.onnx.ops.symbolic(
        MULTI_HEAD_ATTENTION,
        inputs,
        attrs=attributes | ({"unidirectional": 1} if causal else {}),
        dtype=query.dtype,
        shape=merged.shape,
        version=1,
    )
    return output.reshape(*output.shape[:-1], heads, head_size)


def additive(mask: torch.Tensor) -> torch.Tensor:
    """A mask as what is added to the scores: from booleans, True where seen, or from a dtype's smallest number."""
    return torch.where(mask, 0.0, MASKED) if mask.dtype == torch.bool else mask.clamp(min=MASKED)


def _merge_heads(projected: torch.Tensor, heads: int) -> torch.Tensor:
    """[batch, heads, sequence, head size] to [batch, sequence, heads · head size], as the operator takes it."""
    if projected.shape[1] != heads:
        projected = projected.repeat_interleave(heads // projected.shape[1], dim=1)
    return projected.transpose(1, 2).flatten(2)
