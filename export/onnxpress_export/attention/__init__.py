"""How each attention of a model becomes one operator while it is traced: captured, never searched for afterwards.

Most architectures ask transformers' attention interface, and get `interface`. Those that compute their attention
themselves get a forward of their own for the time of the trace: `mpnet`, `deberta_v2`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from transformers import PreTrainedModel

from onnxpress_export.attention import deberta_v2, interface, mpnet
from onnxpress_export.attention.operator import MULTI_HEAD_ATTENTION

__all__ = ["MULTI_HEAD_ATTENTION", "captured_attention"]

_BY_MODEL_TYPE: Final = {"mpnet": mpnet.captured, "deberta-v2": deberta_v2.captured}


@contextmanager
def captured_attention(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, each attention of `model` is traced as one MultiHeadAttention.

    Afterwards `model` computes its attention as before, with transformers' eager implementation.
    """
    capture = _BY_MODEL_TYPE.get(model.config.model_type, interface.captured)
    with capture(model):
        yield
