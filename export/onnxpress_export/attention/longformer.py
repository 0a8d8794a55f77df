"""Longformer, where a token sees a window around it; in a classifier of texts the first token sees all, and is seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from transformers import LongformerForSequenceClassification, PreTrainedModel

from onnxpress_export.attention._forward import replaced_forward
from onnxpress_export.attention.operator import additive, multi_head_attention

__all__ = ["captured"]


@contextmanager
def captured(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, each self-attention of `model` writes a MultiHeadAttention; two where the first token sees all.

    The windows become a bias, so that texts need no padding to a multiple of the window: exact, and of a cost that
    grows with the square of the length, which the model's own blocks avoid.
    """
    base: Any = model.base_model
    forward = _with_first_token if isinstance(model, LongformerForSequenceClassification) else _windows
    with ExitStack() as stack:
        stack.enter_context(patch.object(base, "_pad_to_window_size", _as_they_are))
        for layer in base.encoder.layer:
            stack.enter_context(replaced_forward(layer.attention.self, forward))
        yield


def _as_they_are(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    token_type_ids: torch.Tensor,
    position_ids: torch.Tensor,
    inputs_embeds: torch.Tensor,
    pad_token_id: int,
) -> tuple[Any, ...]:
    return 0, input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds


def _windows(
    module: Any, hidden_states: torch.Tensor, is_index_masked: torch.Tensor, **_: object
) -> tuple[torch.Tensor]:
    """The self-attention's forward, of windows alone."""
    return (_local(module, hidden_states, _near(module, hidden_states), is_index_masked).flatten(2),)


def _with_first_token(
    module: Any, hidden_states: torch.Tensor, is_index_masked: torch.Tensor, **_: object
) -> tuple[torch.Tensor]:
    """The self-attention's forward: windows for all tokens, then the first token's own row in place of its."""
    first_place = torch.arange(hidden_states.shape[1]) == 0
    seen = _near(module, hidden_states) | first_place[None, :]
    local = _local(module, hidden_states, seen, is_index_masked)
    first = multi_head_attention(
        _heads(module, module.query_global, hidden_states[:, :1]),
        _heads(module, module.key_global, hidden_states),
        _heads(module, module.value_global, hidden_states),
        scale=module.head_dim**-0.5,
        padding=~is_index_masked,
    )
    return (torch.cat([first, local[:, 1:]], dim=1).flatten(2),)


def _near(module: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Which keys lie in the window of each query, bool [sequence, sequence]."""
    places = torch.arange(hidden.shape[1])
    near: torch.Tensor = (places[:, None] - places[None, :]).abs() <= module.one_sided_attn_window_size
    return near


def _local(module: Any, hidden: torch.Tensor, seen: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """Attention of every token to the keys that it has `seen`, [batch, sequence, heads, head size]."""
    return multi_head_attention(
        _heads(module, module.query, hidden),
        _heads(module, module.key, hidden),
        _heads(module, module.value, hidden),
        bias=additive(seen)[None, None],
        scale=module.head_dim**-0.5,
        padding=~masked,
    )


def _heads(module: Any, project: Any, hidden: torch.Tensor) -> torch.Tensor:
    """[batch, sequence, features] to [batch, heads, sequence, head size]."""
    split: torch.Tensor = project(hidden).reshape(*hidden.shape[:-1], module.num_heads, -1).transpose(1, 2)
    return split
