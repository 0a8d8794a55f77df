"""Whether the packages of an optional extra are there."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from onnxpress.errors import MissingDependencyError

__all__ = ["require"]


def require(modules: Sequence[str], *, extra: str) -> None:
    """Raise MissingDependencyError naming `extra` when one of `modules` is not installed; imports none."""
    for module in modules:
        if find_spec(module) is None:
            raise MissingDependencyError(module, (extra,))
