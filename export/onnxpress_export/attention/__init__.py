"""How each attention of a model becomes one operator while it is traced: captured where that can be.

Most architectures ask transformers' attention interface, and get `interface`; older ones call torch's attention, and
get `sdpa`. Those that compute it themselves get a forward of their own for the time of the trace: `mpnet`,
`deberta_v2`, `longformer`, `bloom`, `mvp`, `openai_gpt`. Whatever is none of these is traced as written, and left to
the pass `fuse_written_attention`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import torch
from transformers import PreTrainedModel

from onnxpress_export.attention import bloom, deberta_v2, interface, longformer, mpnet, mvp, openai_gpt, sdpa
from onnxpress_export.attention.interface import AttentionArgumentError
from onnxpress_export.attention.operator import MULTI_HEAD_ATTENTION, counted
from onnxpress_export.joined_model import SentenceClassifier

__all__ = ["MULTI_HEAD_ATTENTION", "AttentionArgumentError", "captured_attention", "promised_attentions"]

_BY_MODEL_TYPE: Final = {
    "bloom": bloom.captured,
    "deberta-v2": deberta_v2.captured,
    "longformer": longformer.captured,
    "mpnet": mpnet.captured,
    "mvp": mvp.captured,
    "openai-gpt": openai_gpt.captured,
}


@contextmanager
def captured_attention(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, each attention of `model` is traced as one MultiHeadAttention.

    Afterwards `model` computes its attention as before.
    """
    model = attending(model)
    asks = model._supports_attention_backend or model._can_set_attn_implementation()
    default = interface.captured if asks else sdpa.captured
    with _BY_MODEL_TYPE.get(model.config.model_type, default)(model):
        yield


def attending(model: PreTrainedModel) -> PreTrainedModel:
    """The part of `model` that has its attentions: the body, where other modules make logits of its tokens."""
    return model.body if isinstance(model, SentenceClassifier) else model


def promised_attentions(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]) -> int:
    """How many attentions of a run are captured, and so must be fused in every graph; 0 where none of them can be.

    `model` runs once on `inputs`, and may change by it.

    Raises:
        AttentionArgumentError: An attention is given what no operator here expresses.
    """
    try:
        with torch.no_grad(), captured_attention(model), counted() as count:
            model(**inputs)
    except AttentionArgumentError:
        raise
    except Exception:  # a model's own code, which may do anything with a mask that it made itself
        return 0
    return count[0]
