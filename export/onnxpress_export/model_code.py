"""The Python modules that a model is written in."""

from __future__ import annotations

import sys
from types import ModuleType

import torch

__all__ = ["code_of"]


def code_of(model: torch.nn.Module) -> list[ModuleType]:
    """Where the classes of `model` and of all its parts are defined, each once: what they call is found there."""
    names = dict.fromkeys(type(part).__module__ for part in model.modules())
    return [sys.modules[name] for name in names]
