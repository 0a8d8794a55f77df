"""Architectures that ask transformers' attention interface, which is nearly all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel, masking_utils

from onnxpress_export.attention.operator import additive, multi_head_attention

__all__ = ["captured"]

_NAME: Final = "onnxpress_captured"
_CAUSAL: Final = masking_utils.causal_mask_function
_BIDIRECTIONAL: Final = getattr(masking_utils, "bidirectional_mask_function", None)  # transformers 4 has none


@dataclass(frozen=True, slots=True)
class _Mask:
    """What a query may see, in the operator's terms; models hand it from their mask function to their attention.

    Attributes:
        padding: The padding mask as it was given, [batch, sequence].
        causal: Whether a token sees only itself and those before it.
        bias: What any other pattern adds to the scores (a sliding window), [1, 1, sequence, sequence].
    """

    padding: torch.Tensor | None
    causal: bool = False
    bias: torch.Tensor | None = None


@contextmanager
def captured(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, the attention interface of `model` writes MultiHeadAttention nodes."""
    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, _mask)
    before = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _read_mask(mask: _Mask | torch.Tensor | None) -> _Mask:
    """What an attention was given: our mask, or one that the architecture made without asking for it."""
    if isinstance(mask, _Mask):
        return mask
    if mask is None or mask.dim() == 2:
        return _Mask(mask)
    return _Mask(None, bias=additive(mask))


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: _Mask | torch.Tensor | None,
    scaling: float | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    mask = _read_mask(attention_mask)
    output = multi_head_attention(
        query,
        key,
        value,
        scale=query.shape[3] ** -0.5 if scaling is None else scaling,
        padding=mask.padding,
        bias=mask.bias,
        causal=mask.causal,
    )
    return output, None


def _mask(
    *_: object,
    mask_function: Callable[..., torch.Tensor] = _CAUSAL,
    attention_mask: torch.Tensor | None = None,
    **sizes: Any,
) -> _Mask:
    """In place of transformers' mask of [batch, 1, sequence, sequence]: its parts, padding apart from the pattern."""
    if mask_function is _BIDIRECTIONAL:
        return _Mask(attention_mask)
    if mask_function is _CAUSAL:
        return _Mask(attention_mask, causal=True)
    positions = torch.arange(sizes["kv_length"])
    seen = mask_function(0, 0, positions[:, None], positions[None, :])
    return _Mask(attention_mask, bias=additive(seen)[None, None])
