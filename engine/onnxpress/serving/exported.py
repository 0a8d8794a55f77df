"""What exporters call a service's metrics: one list, so that all of them report the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from onnxpress.serving.metrics import Histogram, ServiceMetrics

__all__ = ["GAUGES", "HISTOGRAMS", "REQUESTS", "Exported"]

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Exported(Generic[Value]):
    """One metric.

    Attributes:
        name: Without the prefix "onnxpress".
        words: What it counts.
        unit: Of its values, as UCUM writes it.
        read: Takes its value from a service's metrics.
    """

    name: str
    words: str
    unit: str
    read: Callable[[ServiceMetrics], Value]


REQUESTS: Final = Exported("requests", "Requests by how they ended.", "{request}", lambda found: found.requests)

GAUGES: Final[tuple[Exported[int], ...]] = (
    Exported("waiting_requests", "Requests that wait.", "{request}", lambda found: found.waiting),
    Exported("waiting_tokens", "Tokens of the requests that wait.", "{token}", lambda found: found.waiting_tokens),
)

HISTOGRAMS: Final[tuple[Exported[Histogram], ...]] = (
    Exported("queue_depth", "Requests that waited as another came.", "{request}", lambda found: found.depth),
    Exported("batch_size", "Requests of a run.", "{request}", lambda found: found.batch_size),
    Exported("request_seconds", "From a request's coming to its answer.", "s", lambda found: found.seconds),
)
