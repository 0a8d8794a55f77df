"""The first GPT, which multiplies its scores by a triangle of ones before it hides the other half."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from onnxpress_export.attention._forward import replaced_forward
from onnxpress_export.attention.operator import multi_head_attention

__all__ = ["captured"]


@contextmanager
def captured(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, the self-attentions of `model` write MultiHeadAttention nodes."""
    base: Any = model.base_model
    with ExitStack() as stack:
        for layer in base.h:
            stack.enter_context(replaced_forward(layer.attn, _forward))
        yield


def _forward(
    module: Any, x: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: object
) -> list[torch.Tensor]:
    """The self-attention's forward, with all between its two projections in one operator.

    `attention_mask` is 0 where a key may be seen, [batch, 1, 1, keys].
    """
    query, key, value = (
        part.reshape(*part.shape[:-1], module.n_head, -1).transpose(1, 2)
        for part in module.c_attn(x).split(module.split_size, dim=2)
    )
    attended = multi_head_attention(
        query,
        key,
        value,
        scale=value.shape[3] ** -0.5 if module.scale else 1.0,
        padding=None if attention_mask is None else attention_mask[:, 0, 0] == 0,
        causal=True,
    )
    return [module.c_proj(attended.flatten(2))]  # the block adds lists
