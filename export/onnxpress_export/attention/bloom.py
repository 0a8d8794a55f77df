"""BLOOM, which adds to each score a slope of its head times the key's place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from transformers import PreTrainedModel
from transformers.models.bloom import modeling_bloom

from onnxpress_export.attention._forward import replaced_forward
from onnxpress_export.attention.operator import multi_head_attention

__all__ = ["captured"]


@contextmanager
def captured(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, the self-attentions of `model` write MultiHeadAttention nodes."""
    base: Any = model.base_model
    with ExitStack() as stack:
        stack.enter_context(patch.object(modeling_bloom, "create_causal_mask", _padding_mask_as_given))
        stack.enter_context(patch.object(base, "build_alibi_tensor", _slopes))
        for layer in base.h:
            stack.enter_context(replaced_forward(layer.self_attention, _forward))
        yield


def _padding_mask_as_given(*_: object, attention_mask: torch.Tensor, **__: object) -> torch.Tensor:
    return attention_mask


def _slopes(attention_mask: torch.Tensor, num_heads: int, dtype: torch.dtype) -> torch.Tensor:
    """What is added for each key, [1, heads, 1, keys].

    BLOOM counts keys from the first that is no padding. Counted from the first of all, each of a query's scores is
    more by the same number, which the softmax does not see.
    """
    ones = torch.ones(1, 1, dtype=torch.int64)
    first_two = modeling_bloom.build_alibi_tensor(torch.cat([ones, ones], dim=1), num_heads, dtype)
    slopes = first_two.reshape(1, num_heads, 1, 2)[..., 1:]
    by_key: torch.Tensor = slopes * torch.arange(attention_mask.shape[1])
    return by_key


def _forward(
    module: Any,
    hidden_states: torch.Tensor,
    residual: torch.Tensor,
    alibi: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """The self-attention's forward, with all between its two projections in one operator."""
    apart = module.query_key_value(hidden_states).reshape(*hidden_states.shape[:-1], module.num_heads, 3, -1)
    query, key, value = (apart[..., index, :].transpose(1, 2) for index in range(3))
    attended = multi_head_attention(
        query,
        key,
        value,
        scale=module.inv_norm_factor,
        padding=attention_mask,
        bias=alibi,
        causal=True,
    )
    return module.dense(attended.flatten(2)) + residual, None
