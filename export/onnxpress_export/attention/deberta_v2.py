"""DeBERTa v2 and v3, whose scores add what content and relative position mean to each other.

transformers multiplies each query (and key) with the embeddings of all distances that the model knows (512 for
DeBERTa-v3-base) and gathers a score for each pair. Here only the distances that occur in the text are multiplied,
2 · sequence of them, and a skew puts the products into place: the same numbers, less work on short text. The embeddings
of the distances are projected once, before the trace, instead of in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from transformers import PreTrainedModel
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from onnxpress_export.attention._forward import replaced_forward
from onnxpress_export.attention.operator import multi_head_attention

__all__ = ["captured"]


@contextmanager
def captured(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, the self-attentions of `model` write MultiHeadAttention nodes."""
    encoder: Any = model.base_model.encoder
    with ExitStack() as stack:
        stack.enter_context(patch.object(encoder, "get_attention_mask", _padding_mask_as_given))
        stack.enter_context(patch.object(encoder, "get_rel_pos", _no_relative_positions))
        for layer in encoder.layer:
            attention = layer.attention.self
            positions = _projected_positions(attention, encoder.get_rel_embedding())
            stack.enter_context(replaced_forward(attention, partial(_forward, positions=positions)))
        yield


def _projected_positions(module: Any, embeddings: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """What content is compared with, by kind: each distance's key ("c2p") and query ("p2c").

    Each is [1, heads, 2 · span, head size].
    """
    kinds = ("c2p", "p2c") if module.relative_attention else ()
    projections = {
        "c2p": module.key_proj if module.share_att_key else getattr(module, "pos_key_proj", None),
        "p2c": module.query_proj if module.share_att_key else getattr(module, "pos_query_proj", None),
    }
    positions = {}
    for kind in kinds:
        project = projections[kind]
        if kind in module.pos_att_type and project is not None and embeddings is not None:
            with torch.no_grad():
                positions[kind] = _split_heads(module, project(embeddings[None, : 2 * module.pos_ebd_size])).clone()
    return positions


def _padding_mask_as_given(mask: torch.Tensor) -> torch.Tensor:
    return mask


def _no_relative_positions(*_: object, **__: object) -> None:
    """`_forward` makes its own."""


def _forward(
    module: Any,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor,
    positions: dict[str, torch.Tensor],
    **_: object,
) -> tuple[torch.Tensor, None]:
    """The self-attention's forward, with all behind its projections but the positions' part in one operator."""
    projections = (module.query_proj, module.key_proj, module.value_proj)
    query, key, value = (_split_heads(module, project(hidden_states)) for project in projections)
    scale = (module.attention_head_size * (1 + len({"c2p", "p2c"} & set(module.pos_att_type)))) ** -0.5
    bias = scale * _position_scores(module, query, key, positions) if positions else None
    attended = multi_head_attention(query, key, value, scale=scale, padding=attention_mask, bias=bias)
    return attended.flatten(2), None


def _position_scores(
    module: Any, query: torch.Tensor, key: torch.Tensor, positions: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Content to position and position to content, unscaled, [batch, heads, sequence, sequence].

    He et al., "DeBERTa: Decoding-enhanced BERT with Disentangled Attention", 2021, equation 4; v3 shares the
    projections of content and position.
    """
    span, sequence = module.pos_ebd_size, query.shape[2]
    distances = torch.arange(2 * sequence) - (sequence - 1)  # of the other token from this one
    scores = query.new_zeros(())
    if "c2p" in positions:
        rows = (span + _bucket(module, -distances)).clamp(0, 2 * span - 1)
        scores = scores + _skew(query @ positions["c2p"][:, :, rows].transpose(2, 3))
    if "p2c" in positions:
        rows = (span - _bucket(module, -distances)).clamp(0, 2 * span - 1)
        by_key = _skew(key @ positions["p2c"][:, :, rows].transpose(2, 3))
        scores = scores + by_key.transpose(2, 3)
    return scores


def _skew(products: torch.Tensor) -> torch.Tensor:
    """From [.., sequence, 2 · sequence] by distance to [.., sequence, sequence] by token.

    Column c of row i holds the distance c - (sequence - 1), and the result's column j wants the distance j - i: each
    row begins one column earlier than the one before, which reading the same memory in rows one shorter does.
    Huang et al., "Music Transformer", 2018, section 3.4.1.
    """
    sequence = products.shape[2]
    flat = products.flatten(2)[:, :, sequence - 1 : sequence - 1 + sequence * (2 * sequence - 1)]
    return flat.reshape(*flat.shape[:2], sequence, 2 * sequence - 1)[..., :sequence]


def _bucket(module: Any, distances: torch.Tensor) -> torch.Tensor:
    if module.position_buckets > 0 and module.max_relative_positions > 0:
        distances = make_log_bucket_position(distances, module.position_buckets, module.max_relative_positions)
    return distances.to(torch.long)


def _split_heads(module: Any, projected: torch.Tensor) -> torch.Tensor:
    """[batch, sequence, features] to [batch, heads, sequence, head size]."""
    return projected.reshape(*projected.shape[:-1], module.num_attention_heads, -1).transpose(1, 2)
