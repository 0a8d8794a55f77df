"""What waits in a service's queue, and how much may."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from onnxpress.errors import ConfigError
from onnxpress.inputs.encoder import TokenRows

__all__ = ["Place", "QueueLimits", "Request", "stacked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How much may wait, and how long for company.

    Attributes:
        max_requests: Requests that wait, at least 1.
        max_tokens: Tokens of these together. A longer request is taken when nothing else waits.
        max_callers: Requests in line for room in the queue, where they may wait for it, at least 1.
        max_delay: Seconds that a request may wait for others to join its batch, 0 for none: those join that wait
            while a run is in flight.
    """

    max_requests: int = 1_024
    max_tokens: int = 65_536
    max_callers: int = 4_096
    max_delay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("max_requests", "max_tokens", "max_callers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.max_delay < math.inf:
            raise ConfigError(f"max_delay_ms must be 0 or more, got {self.max_delay * 1_000:g}")


class Place(Enum):
    """Where a request is."""

    COMING = "coming"  # its text is tokenized
    OUTSIDE = "outside"  # in line for room
    QUEUED = "queued"
    GONE = "gone"


@dataclass(slots=True, eq=False)
class Request:
    """One text on its way.

    Attributes:
        timeout: Seconds until nobody waits for it any more, from when it came; infinite without a limit.
        future: Its logits, float32 [labels], or [vectors, labels] where a text may have several.
        came: When, in `time.monotonic` seconds.
        rows: The text's tokens, once there: one row, or one for each window.
        shape: What requests of one batch share; 0 for several windows, which run alone.
        number: Its place in the order of the queue.
        place: Where it is.
    """

    timeout: float = math.inf
    future: Future[NDArray[np.float32]] = field(default_factory=Future)
    came: float = field(default_factory=monotonic)
    rows: TokenRows | None = None
    shape: int = 0
    number: int = 0
    place: Place = Place.GONE

    @property
    def logits(self) -> NDArray[np.float32]:
        """What it was answered, once it was."""
        return self.future.result()

    @property
    def tokens(self) -> int:
        """Of all its rows."""
        return 0 if self.rows is None else int(self.rows.lengths.sum())

    def is_late(self) -> bool:
        """Whether its time is over."""
        return monotonic() >= self.came + self.timeout

    def remaining(self) -> float | None:
        """Seconds that are left of its time, 0 at least; None without a limit."""
        left = self.came + self.timeout - monotonic()
        return None if left > threading.TIMEOUT_MAX else max(0.0, left)


def stacked(requests: Sequence[Request], outputs: int) -> NDArray[np.float32]:
    """Logits of texts that have one vector of `outputs` each, or of none: float32 [texts, outputs]."""
    rows = [request.logits for request in requests]
    return np.stack(rows) if rows else np.empty((0, outputs), dtype=np.float32)
