"""Architectures that call torch's scaled_dot_product_attention themselves: transformers 4's BERT and its kin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from transformers import PreTrainedModel

from onnxpress_export.attention.operator import additive, multi_head_attention

__all__ = ["captured"]

_MASK_MAKER = "_prepare_4d_attention_mask_for_sdpa"


@contextmanager
def captured(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, torch's scaled_dot_product_attention writes MultiHeadAttention nodes."""
    module = sys.modules[type(model).__module__]
    with ExitStack() as stack:
        stack.enter_context(patch.object(torch.nn.functional, "scaled_dot_product_attention", _attention))
        if hasattr(module, _MASK_MAKER):
            stack.enter_context(patch.object(module, _MASK_MAKER, _padding_mask_as_given))
        yield


def _padding_mask_as_given(mask: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
    return mask


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """As torch's: [batch, heads, sequence, head size]. A mask of [batch, sequence] is padding, others are per query."""
    output = multi_head_attention(
        query,
        key,
        value,
        scale=query.shape[3] ** -0.5 if scale is None else scale,
        padding=attn_mask if attn_mask is not None and attn_mask.dim() == 2 else None,
        bias=additive(attn_mask) if attn_mask is not None and attn_mask.dim() != 2 else None,
        causal=is_causal,
    )
    return output.transpose(1, 2)
