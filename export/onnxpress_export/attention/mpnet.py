"""MPNet, which adds learned relative positions to the scores of every layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from transformers import PreTrainedModel
from transformers.models.mpnet import modeling_mpnet

from onnxpress_export.attention._forward import replaced_forward
from onnxpress_export.attention.operator import multi_head_attention

__all__ = ["captured"]


@contextmanager
def captured(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, the self-attentions of `model` write MultiHeadAttention nodes."""
    base: Any = model.base_model
    with ExitStack() as stack:
        # transformers 4 makes its mask with the first, 5 with the second; create lets the other be absent.
        stack.enter_context(patch.object(base, "get_extended_attention_mask", _padding_mask_as_given, create=True))
        stack.enter_context(
            patch.object(modeling_mpnet, "create_bidirectional_mask", _padding_mask_as_given, create=True)
        )
        for layer in base.encoder.layer:
            stack.enter_context(replaced_forward(layer.attention.attn, _forward))
        yield


def _padding_mask_as_given(attention_mask: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
    return attention_mask


def _forward(
    module: Any,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    **_: object,
) -> tuple[torch.Tensor]:
    """The self-attention's forward, with all between its four projections in one operator."""
    query, key, value = (
        project(hidden_states).reshape(*hidden_states.shape[:-1], module.num_attention_heads, -1).transpose(1, 2)
        for project in (module.q, module.k, module.v)
    )
    attended = multi_head_attention(
        query,
        key,
        value,
        scale=module.attention_head_size**-0.5,
        padding=attention_mask,
        bias=None if position_bias is None else position_bias[:1],  # one for all rows: it only knows distances
    )
    return (module.o(attended.flatten(2)),)
