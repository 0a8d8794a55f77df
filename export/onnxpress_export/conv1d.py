"""GPT-2's Conv1D, a product that flattens its rows, as a product of all tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from transformers.pytorch_utils import Conv1D

__all__ = ["conv1d_as_matmul"]


@contextmanager
def conv1d_as_matmul() -> Iterator[None]:
    """Within the block, each Conv1D is traced as MatMul and Add, which pruning and quantization see.

    As it is written it becomes a Gemm between two Reshapes. Exact: the same sums.
    """
    with patch.object(Conv1D, "forward", _forward):
        yield


def _forward(module: Any, hidden: torch.Tensor) -> torch.Tensor:
    """[.., features in] to [.., features out]."""
    product: torch.Tensor = hidden @ module.weight + module.bias
    return product
