"""MVP, an encoder-decoder that computes BART's attention itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from transformers import PreTrainedModel
from transformers.models.mvp import modeling_mvp

from onnxpress_export.attention._forward import replaced_forward
from onnxpress_export.attention.operator import multi_head_attention

__all__ = ["captured"]


@contextmanager
def captured(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, the attentions of `model`, those between its halves too, write MultiHeadAttention nodes.

    Not with learned prompts, which are keys without a token: those are left as they are written.
    """
    attentions = [module for module in model.modules() if isinstance(module, modeling_mvp.MvpAttention)]
    with ExitStack() as stack:
        if not model.config.use_prompt:
            for name in ("create_causal_mask", "create_bidirectional_mask"):
                stack.enter_context(patch.object(modeling_mvp, name, _padding_mask_as_given))
            for attention in attentions:
                stack.enter_context(replaced_forward(attention, _forward))
        yield


def _padding_mask_as_given(*_: object, attention_mask: torch.Tensor | None, **__: object) -> torch.Tensor | None:
    return attention_mask


def _forward(
    module: Any,
    hidden_states: torch.Tensor,
    key_value_states: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """The attention's forward, with all between its four projections in one operator."""
    others = hidden_states if key_value_states is None else key_value_states
    attended = multi_head_attention(
        _heads(module, module.q_proj(hidden_states)),
        _heads(module, module.k_proj(others)),
        _heads(module, module.v_proj(others)),
        scale=module.scaling,
        padding=attention_mask,
        causal=module.is_decoder and key_value_states is None,
    )
    return module.out_proj(attended.flatten(2)), None


def _heads(module: Any, projected: torch.Tensor) -> torch.Tensor:
    """[batch, sequence, features] to [batch, heads, sequence, head size]."""
    return projected.reshape(*projected.shape[:-1], module.num_heads, -1).transpose(1, 2)
