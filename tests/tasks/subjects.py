"""A task, as the contract asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import onnxpress


@dataclass(frozen=True)
class Subject:
    """A task, as the contract asks for it.

    Attributes:
        artifact: One of it.
        kind: What `load` gives.
        threaded, asynchronous: Its services.
        ask: The method of these that answers.
        columns: What scoring adds by default.
        lone: Forms of one text that are no str, each with the same in a sequence.
    """

    artifact: Path
    kind: type
    threaded: Callable[..., Any]
    asynchronous: Callable[..., Any]
    ask: str
    columns: tuple[str, ...]
    lone: tuple[tuple[object, object], ...] = ()

    def load(self, **settings: Any) -> Any:
        return onnxpress.load(self.artifact, **settings)


def equal(found: object, wanted: object) -> bool:
    """Bit by bit."""
    if isinstance(found, np.ndarray) and isinstance(wanted, np.ndarray):
        return found.dtype == wanted.dtype and found.shape == wanted.shape and found.tobytes() == wanted.tobytes()
    if isinstance(found, Sequence) and isinstance(wanted, Sequence) and not isinstance(found, str):
        return len(found) == len(wanted) and all(map(equal, found, wanted))
    return found == wanted
