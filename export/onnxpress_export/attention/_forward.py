"""Taking a module's forward over for a while."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

__all__ = ["replaced_forward"]


@contextmanager
def replaced_forward(module: torch.nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Within the block, `module` calls `forward` with itself and its own forward's arguments, all by name.

    By name, since their order differs between versions of transformers.
    """
    signature = inspect.signature(module.forward)

    def call(*args: object, **kwargs: object) -> Any:
        return forward(module, **signature.bind(*args, **kwargs).arguments)

    with patch.object(module, "forward", call):
        yield
