"""A torch classifier as a graph, with each attention captured as one operator.

No pattern matcher looks for attention afterwards: transformers lets a caller choose the attention function, and
ours writes a `com.microsoft::MultiHeadAttention` node instead of computing anything. The mask function hands the
two-dimensional padding mask through, which is what that operator takes.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import onnx_ir as ir
import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

__all__ = ["MULTI_HEAD_ATTENTION", "capture"]

MULTI_HEAD_ATTENTION: Final = "com.microsoft::MultiHeadAttention"

_NAME: Final = "onnxpress_captured"
_REFERENCE: Final = "eager"


def capture(model: PreTrainedModel, input_names: Sequence[str]) -> ir.Model:
    """Trace `model` into a graph from `input_names`, int64 [batch, sequence], to float32 `logits`.

    Each attention that goes through transformers' attention interface becomes one MultiHeadAttention; the
    others are traced as written. The model is left with eager attention.
    """
    AttentionInterface.register(_NAME, _captured_attention)
    AttentionMaskInterface.register(_NAME, _untouched_padding_mask)
    model.set_attn_implementation(_NAME)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                _Logits(model, input_names).eval(),
                _example_inputs(model, input_names),
                dynamo=True,
                verbose=False,
                input_names=list(input_names),
                output_names=["logits"],
                dynamic_shapes=(tuple([_DYNAMIC] * len(input_names)),),
            )
    finally:
        model.set_attn_implementation(_REFERENCE)
    assert program is not None
    return program.model


_DYNAMIC: Final = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}


class _Logits(torch.nn.Module):
    """A classifier that takes its inputs by position and returns its logits alone."""

    def __init__(self, model: PreTrainedModel, input_names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self._input_names = tuple(input_names)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Logits, [batch, labels]."""
        output = self.model(**dict(zip(self._input_names, inputs, strict=True)))
        logits: torch.Tensor = output.logits
        return logits


def _captured_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """One MultiHeadAttention node for query, key and value of [batch, heads, sequence, head size]."""
    heads, head_size = query.shape[1], query.shape[3]
    inputs: list[torch.Tensor | None] = [t.transpose(1, 2).flatten(2) for t in (query, key, value)]
    merged = inputs[0]
    assert merged is not None
    if attention_mask is not None:
        inputs += [None, attention_mask.to(torch.int32)]
    output = torch.onnx.ops.symbolic(
        MULTI_HEAD_ATTENTION,
        inputs,
        attrs={"num_heads": heads, "scale": head_size**-0.5 if scaling is None else float(scaling)},
        dtype=query.dtype,
        shape=merged.shape,
        version=1,
    )
    return output.reshape(*output.shape[:-1], heads, head_size), None


def _untouched_padding_mask(
    *_: object, attention_mask: torch.Tensor | None = None, **__: object
) -> torch.Tensor | None:
    return attention_mask


def _example_inputs(model: PreTrainedModel, input_names: Sequence[str]) -> tuple[torch.Tensor, ...]:
    """Two rows of which the second is padded, so that the trace cannot take the mask for constant."""
    batch, sequence, padding = 2, 9, 3
    ids = torch.arange(batch * sequence).reshape(batch, sequence) % model.config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, -padding:] = 0
    examples: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": torch.zeros_like(ids),
    }
    return tuple(examples[name] for name in input_names)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporter from warning about its own internals and about optional packages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
