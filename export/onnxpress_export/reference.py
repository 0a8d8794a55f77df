"""The model as it was loaded: what every comparison and every trace starts from."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch

__all__ = ["fresh"]

Model = TypeVar("Model", bound=torch.nn.Module)


def fresh(model: Model) -> Model:
    """A copy of `model` with buffers, configuration and attributes of its own; the weights are shared.

    A model may change while it runs (BigBird leaves its sparse attention for good after one short text, rotary tables
    grow with the longest one), so nothing runs the loaded one itself.
    """
    shared: dict[int, Any] = {id(weight): weight for weight in model.parameters()}
    return copy.deepcopy(model, shared)
