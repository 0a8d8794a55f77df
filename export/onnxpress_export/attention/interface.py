"""Architectures that ask transformers' attention interface, which is nearly all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel, masking_utils

from onnxpress_export.attention.operator import (
    additive,
    attention_with_sinks,
    capped_attention,
    multi_head_attention,
)

__all__ = ["AttentionArgumentError", "captured"]

_NAME: Final = "onnxpress_captured"
_CAUSAL: Final = masking_utils.causal_mask_function
_BIDIRECTIONAL: Final = getattr(masking_utils, "bidirectional_mask_function", None)  # transformers 4 has none


class AttentionArgumentError(Exception):
    """An attention was given an argument that no operator here expresses; its only argument is the name."""


@dataclass(frozen=True, slots=True)
class _Mask:
    """What a query may see, in the operator's terms; models hand it from their mask function to their attention.

    Attributes:
        padding: The padding mask as it was given, [batch, sequence].
        causal: Whether a token sees only itself and those before it.
        bias: What any other pattern adds to the scores (a sliding window), [batch or 1, 1, sequence, sequence].
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


_SAYS_NOTHING: Final = frozenset(
    {
        "dropout", "output_attentions", "output_hidden_states", "use_cache", "deterministic", "position_ids",
        "cache_position", "sliding_window", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k",
        "return_dict", "num_items_in_batch", "token_type_ids", "position_embeddings", "is_causal",
    }
)  # fmt: skip
"""What changes nothing here: it is for training, for caches, for kernels that make their own masks (here the window is
in the mask that was asked for), or is read below."""


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: _Mask | torch.Tensor | None,
    scaling: float | None = None,
    position_bias: torch.Tensor | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    _refuse_what_is_not_expressed(others)
    mask = _read_mask(attention_mask)
    bias = mask.bias
    if position_bias is not None:
        bias = position_bias if bias is None else bias + position_bias
    terms: dict[str, Any] = {
        "scale": query.shape[3] ** -0.5 if scaling is None else scaling,
        "padding": mask.padding,
        "bias": bias,
        "causal": mask.causal or (attention_mask is None and _is_causal(module, others)),
    }
    if softcap is not None and s_aux is not None:
        raise AttentionArgumentError("softcap together with s_aux")
    if softcap is not None:
        output = capped_attention(query, key, value, cap=softcap, **terms)
    elif s_aux is not None:
        output = attention_with_sinks(query, key, value, sinks=s_aux, **terms)
    else:
        output = multi_head_attention(query, key, value, **terms)
    return output, None


def _refuse_what_is_not_expressed(arguments: Mapping[str, object]) -> None:
    """Raise AttentionArgumentError for the first argument that would change the scores, and is not written anywhere."""
    for name, value in arguments.items():
        if value is not None and value is not False and name not in _SAYS_NOTHING:
            raise AttentionArgumentError(name)


def _is_causal(module: torch.nn.Module, arguments: Mapping[str, Any]) -> bool:
    """What transformers' own function does where it is given no mask."""
    stated = arguments.get("is_causal")
    return bool(getattr(module, "is_causal", True) if stated is None else stated)


def _mask(
    *_: object,
    mask_function: Callable[..., torch.Tensor] = _CAUSAL,
    attention_mask: torch.Tensor | None = None,
    **sizes: Any,
) -> _Mask:
    """In place of transformers' mask of [batch, 1, sequence, sequence]: its parts, padding apart from the pattern."""
    if mask_function is _BIDIRECTIONAL:
        return _Mask(attention_mask)
    keys = sizes["kv_length"]
    queries = sizes["q_length"] if "q_length" in sizes else sizes["cache_position"].shape[0]  # transformers 4 has no q
    if mask_function is _CAUSAL and queries == keys:
        return _Mask(attention_mask, causal=True)
    rows = torch.arange(sizes["batch_size"])[:, None, None, None]
    head = torch.zeros(1, 1, 1, 1, dtype=torch.long)
    seen = mask_function(
        rows, head, torch.arange(queries)[None, None, :, None], torch.arange(keys)[None, None, None, :]
    )
    return _Mask(attention_mask, bias=additive(seen))
