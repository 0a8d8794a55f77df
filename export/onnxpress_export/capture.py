"""A torch classifier as a graph, with each attention captured as one operator."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import onnx_ir as ir
import torch
from transformers import PreTrainedModel

from onnxpress_export.attention import captured_attention

__all__ = ["capture", "trace"]


def capture(model: PreTrainedModel, input_names: Sequence[str]) -> ir.Model:
    """`trace`, with each attention that the exporter knows as one MultiHeadAttention."""
    with captured_attention(model):
        return trace(model, input_names)


def trace(model: PreTrainedModel, input_names: Sequence[str]) -> ir.Model:
    """The graph of `model` as it computes, from `input_names`, int64 [batch, sequence], to float32 `logits`."""
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
