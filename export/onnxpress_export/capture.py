"""A torch classifier as a graph, with each attention captured as one operator."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import onnx_ir as ir
import torch
from onnx_ir.passes.common import DeduplicateInitializersPass
from transformers import PreTrainedModel

from onnxpress_export.attention import captured_attention, promised_attentions
from onnxpress_export.conv1d import conv1d_as_matmul
from onnxpress_export.eos_pooling import traceable_eos_pooling
from onnxpress_export.experts import dense_experts
from onnxpress_export.model_inputs import example_inputs
from onnxpress_export.recurrences import traceable_recurrences
from onnxpress_export.rotations import real_rotations
from onnxpress_export.settled import settled

__all__ = ["FixedShapeError", "capture", "capture_as_written", "fusable_attentions", "trace"]


def capture(model: PreTrainedModel, input_names: Sequence[str]) -> ir.Model:
    """`trace`, with each attention that the exporter knows as one MultiHeadAttention."""
    copy = settled(model)
    with captured_attention(copy):
        return _trace(copy, input_names)


def capture_as_written(model: PreTrainedModel, input_names: Sequence[str]) -> ir.Model:
    """`trace`, with each attention as the architecture's own code computes it, step by step."""
    copy = settled(model)
    copy.set_attn_implementation("eager")
    return _trace(copy, input_names)


def fusable_attentions(model: PreTrainedModel, input_names: Sequence[str]) -> int:
    """How many attentions `capture` makes one operator each; 0 where the architecture has none that it can.

    Raises:
        AttentionArgumentError: An attention is given what no operator here expresses.
    """
    copy = settled(model)
    with traceable_eos_pooling(copy):
        return promised_attentions(copy, dict(zip(input_names, _example_inputs(copy, input_names), strict=True)))


def trace(model: PreTrainedModel, input_names: Sequence[str]) -> ir.Model:
    """The graph of `model` as it computes, from `input_names`, int64 [batch, sequence], to float32 `logits`."""
    return _trace(settled(model), input_names)


def _trace(model: PreTrainedModel, input_names: Sequence[str]) -> ir.Model:
    with (
        _quiet(),
        torch.no_grad(),
        traceable_eos_pooling(model),
        conv1d_as_matmul(),
        dense_experts(model),
        real_rotations(model),
        traceable_recurrences(model),
    ):
        program = torch.onnx.export(
            _Logits(model, input_names).eval(),
            _example_inputs(model, input_names),
            dynamo=True,
            verbose=False,
            input_names=list(input_names),
            output_names=["logits"],
            dynamic_shapes=(tuple([_DYNAMIC] * len(input_names)),),
        )
    assert program is not None
    for value in program.model.graph.inputs:
        if value.shape is None or not all(isinstance(size, ir.SymbolicDim) for size in value.shape):
            raise FixedShapeError(f"its code fixes {value.name} to {value.shape} while it is traced")
    DeduplicateInitializersPass(size_limit=_FOLDED)(program.model)
    return program.model


class FixedShapeError(Exception):
    """A traced graph would take texts of one length only."""


_FOLDED: Final = 8_192
"""Numbers of a weight up to which torch's exporter transposes it, once for each layer that shares it (ALBERT)."""

_DYNAMIC: Final = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}


class _Logits(torch.nn.Module):
    """A classifier that takes its inputs by position and returns its logits alone."""

    def __init__(self, model: PreTrainedModel, input_names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self._input_names = tuple(input_names)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Logits, [batch, labels], or [batch, sequence, labels]."""
        output = self.model(**dict(zip(self._input_names, inputs, strict=True)))
        logits: torch.Tensor = output.logits
        return logits


def _example_inputs(model: PreTrainedModel, input_names: Sequence[str]) -> tuple[torch.Tensor, ...]:
    """Two rows of which the second is padded, so that the trace cannot take the mask for constant."""
    examples = example_inputs(model, batch=2, sequence=9, padding=3)
    return tuple(examples[name] for name in input_names)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporter from warning about its own internals and about optional packages."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
