"""How each attention of a model becomes one operator while it is traced: captured, never searched for afterwards.

Most architectures ask transformers' attention interface, and get `interface`; older ones call torch's attention, and
get `sdpa`. Those that compute it themselves get a forward of their own for the time of the trace: `mpnet`,
`deberta_v2`. Whatever is none of these is traced as written, and then counted as not fused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from transformers import PreTrainedModel

from onnxpress_export.attention import deberta_v2, interface, mpnet, sdpa
from onnxpress_export.attention.operator import MULTI_HEAD_ATTENTION

__all__ = ["MULTI_HEAD_ATTENTION", "captured_attention"]

_BY_MODEL_TYPE: Final = {"mpnet": mpnet.captured, "deberta-v2": deberta_v2.captured}


@contextmanager
def captured_attention(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, each attention of `model` is traced as one MultiHeadAttention.

    Afterwards `model` computes its attention as before.
    """
    default = interface.captured if model._supports_attention_backend else sdpa.captured
    with _BY_MODEL_TYPE.get(model.config.model_type, default)(model):
        yield
