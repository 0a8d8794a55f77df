"""The operator that every attention becomes, and what is built around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import torch

__all__ = [
    "MASKED",
    "MULTI_HEAD_ATTENTION",
    "additive",
    "attention_with_sinks",
    "capped_attention",
    "counted",
    "multi_head_attention",
]

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
        value: As `key`; its head size may be another.
        scale: Multiplies the scores.
        padding: 1 for each key that may be seen, 0 for padding, [batch, keys].
        bias: Added to the scores, [batch or 1, heads or 1, sequence or 1, keys or 1].
        causal: Whether a token sees only itself and those before it.

    Returns:
        [batch, sequence, heads, value's head size].
    """
    heads = query.shape[1]
    merged = [_merge_heads(t, heads) for t in (query, key, value)]
    if bias is not None and 1 in bias.shape[2:]:  # the operator repeats neither a row nor a column
        bias = bias.expand(-1, -1, query.shape[2], key.shape[2])
    inputs = [*merged, None, None if padding is None else padding.to(torch.int32), bias]
    while inputs[-1] is None:
        inputs.pop()
    attributes: dict[str, Any] = {"num_heads": heads, "scale": float(scale)}
    output = torch.onnx.ops.symbolic(
        MULTI_HEAD_ATTENTION,
        inputs,
        attrs=attributes | ({"unidirectional": 1} if causal else {}),
        dtype=query.dtype,
        shape=(*merged[0].shape[:2], merged[2].shape[2]),
        version=1,
    )
    _count_one()
    return output.reshape(*output.shape[:-1], heads, value.shape[3])


def attention_with_sinks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    sinks: torch.Tensor,
    padding: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    causal: bool = False,
) -> torch.Tensor:
    """`multi_head_attention` whose softmax also counts exp(sinks), one number a head: [heads].

    A sink is a key before all others that is zero, so that only its bias is its score, and whose value is zero.
    """
    batch, heads, sequence, _ = query.shape
    sinks = sinks.to(query.dtype).reshape(1, heads, 1, 1).expand(1, heads, sequence, 1)
    added = query.new_zeros(1, 1, sequence, key.shape[2]) if bias is None else bias
    if causal:
        added = added + additive(_seen_causally(sequence, key.shape[2]))
    added = added.expand(-1, heads, -1, -1)
    key, value = (torch.cat([t.new_zeros(batch, t.shape[1], 1, t.shape[3]), t], dim=2) for t in (key, value))
    return multi_head_attention(
        query,
        key,
        value,
        scale=scale,
        padding=None if padding is None else torch.nn.functional.pad(padding.to(torch.int32), (1, 0), value=1),
        bias=torch.cat([sinks.expand(added.shape[0], -1, -1, -1), added], dim=3),
    )


def capped_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    cap: float,
    padding: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    causal: bool = False,
) -> torch.Tensor:
    """As `multi_head_attention`, with scores bent below `cap` before anything is hidden: cap · tanh(scores / cap).

    Written out, since MultiHeadAttention has no such cap.
    """
    heads = query.shape[1]
    key, value = (_repeat_heads(t, heads) for t in (key, value))
    scores = torch.matmul(query, key.transpose(2, 3)) * scale
    scores = torch.tanh(scores / cap) * cap
    if bias is not None:
        scores = scores + bias
    if causal:
        scores = scores + additive(_seen_causally(query.shape[2], key.shape[2]))
    if padding is not None:
        scores = scores + additive(padding.to(torch.bool))[:, None, None, :]
    return torch.matmul(torch.softmax(scores, dim=-1), value).transpose(1, 2)


def _seen_causally(queries: int, keys: int) -> torch.Tensor:
    """True where a key is at its query's place or before it, [queries, keys]."""
    return torch.arange(keys)[None, :] <= torch.arange(queries)[:, None]


_counter: ContextVar[list[int] | None] = ContextVar("counter", default=None)


@contextmanager
def counted() -> Iterator[list[int]]:
    """Within the block, the list's only number is how many MultiHeadAttention nodes were written in it."""
    count = [0]
    token = _counter.set(count)
    try:
        yield count
    finally:
        _counter.reset(token)


def _count_one() -> None:
    if (count := _counter.get()) is not None:
        count[0] += 1


def additive(mask: torch.Tensor) -> torch.Tensor:
    """A mask as what is added to the scores: from booleans, True where seen, or from a dtype's smallest number."""
    return torch.where(mask, 0.0, MASKED) if mask.dtype == torch.bool else mask.clamp(min=MASKED)


def _merge_heads(projected: torch.Tensor, heads: int) -> torch.Tensor:
    """[batch, heads, sequence, head size] to [batch, sequence, heads · head size], as the operator takes it."""
    return _repeat_heads(projected, heads).transpose(1, 2).flatten(2)


def _repeat_heads(projected: torch.Tensor, heads: int) -> torch.Tensor:
    """As many as `heads`, each of fewer serving a group of them."""
    if projected.shape[1] == heads:
        return projected
    return projected.repeat_interleave(heads // projected.shape[1], dim=1)
