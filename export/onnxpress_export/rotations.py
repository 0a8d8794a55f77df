"""Rotary positions that are written with complex numbers, as the same rotation of pairs of real ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from transformers import PreTrainedModel

from onnxpress_export.model_code import code_of

__all__ = ["real_rotations"]

_COMPLEX = ("deepseek_v2",)
_TURN = "apply_rotary_emb"


@contextmanager
def real_rotations(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, `model` turns its queries and keys without complex numbers, which ONNX does not have.

    Exact: the product of two complex numbers, written out.
    """
    with ExitStack() as stack:
        if model.config.get_text_config().model_type in _COMPLEX:
            stack.enter_context(patch.object(torch, "polar", _polar))
            for code in code_of(model):
                if hasattr(code, _TURN):
                    stack.enter_context(patch.object(code, _TURN, _turn))
        yield


def _polar(size: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """torch.polar's numbers, each as its real and its imaginary part, in a last dimension of two."""
    return torch.stack([size * angle.cos(), size * angle.sin()], dim=-1)


def _turn(query: torch.Tensor, key: torch.Tensor, turns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both, [batch, heads, sequence, 2 · pairs], turned by `turns`, [batch, sequence, pairs, 2]."""
    real, imaginary = turns.unsqueeze(1).unbind(-1)

    def turned(tokens: torch.Tensor) -> torch.Tensor:
        first, second = tokens.float().reshape(*tokens.shape[:-1], -1, 2).unbind(-1)
        pairs = torch.stack([first * real - second * imaginary, first * imaginary + second * real], dim=-1)
        return pairs.flatten(3).type_as(tokens)

    return turned(query), turned(key)
