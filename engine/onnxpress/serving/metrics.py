"""What a service did: counters and histograms."""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal

__all__ = ["Histogram", "Outcome", "Recorder", "ServiceMetrics"]

Outcome = Literal["answered", "failed", "refused", "expired", "cancelled"]

_OUTCOMES: Final[tuple[Outcome, ...]] = ("answered", "failed", "refused", "expired", "cancelled")
_COUNTS: Final = tuple(float(2**power) for power in range(13))
_SECONDS: Final = tuple(step * 10.0**power for power in range(-4, 1) for step in (1, 2, 5))


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often a value fell between bounds.

    Attributes:
        bounds: Upper bounds, inclusive, ascending; a last bucket without one follows.
        counts: Values in each bucket, one more than bounds.
        total: Sum of all values.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """How many values reached no further than each bound, "+Inf" last: the buckets as exporters write them."""
        bounds = [f"{bound:g}" for bound in self.bounds] + ["+Inf"]
        return list(zip(bounds, accumulate(self.counts), strict=True))

    def quantile(self, share: float) -> float:
        """The upper bound of the bucket in which the quantile `share` lies; 0 without values, inf beyond all bounds."""
        if not self.count:
            return 0.0
        reached = next(i for i, total in enumerate(accumulate(self.counts)) if total >= share * self.count)
        return self.bounds[reached] if reached < len(self.bounds) else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceMetrics:
    """A service's state at one moment.

    Attributes:
        requests: How many requests ended in each way: "answered", "failed" (a run raised, or the service closed),
            "refused" (the queue was full), "expired" (their time was over before there was an answer) and "cancelled"
            (by the caller, before they ran). Each text of a call is one, and ends once; a text that cannot be
            classified is none.
        waiting: Requests that wait now.
        waiting_tokens: Tokens of those.
        depth: How many requests waited already as each one came.
        batch_size: Requests of each run.
        seconds: From a request's coming to its answer.
    """

    requests: dict[Outcome, int]
    waiting: int
    waiting_tokens: int
    depth: Histogram
    batch_size: Histogram
    seconds: Histogram


class Recorder:
    """Counts, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[Outcome, int] = dict.fromkeys(_OUTCOMES, 0)
        self._depth = _Buckets(_COUNTS)
        self._batch_size = _Buckets(_COUNTS)
        self._seconds = _Buckets(_SECONDS)

    def came(self, depth: int) -> None:
        """A request came, while `depth` others waited."""
        with self._lock:
            self._depth.add(depth)

    def ended(self, outcome: Outcome, requests: int = 1) -> None:
        """So many requests ended so."""
        with self._lock:
            self._requests[outcome] += requests

    def ran(self, seconds: list[float], late: int = 0) -> None:
        """A batch ran; `seconds` passed for each request since it came, and for `late` others too many."""
        with self._lock:
            self._requests["answered"] += len(seconds)
            self._requests["expired"] += late
            self._batch_size.add(len(seconds) + late)
            for value in seconds:
                self._seconds.add(value)

    def metrics(self, *, waiting: int, waiting_tokens: int) -> ServiceMetrics:
        """All of it, with what waits now."""
        with self._lock:
            return ServiceMetrics(
                requests=dict(self._requests),
                waiting=waiting,
                waiting_tokens=waiting_tokens,
                depth=self._depth.histogram(),
                batch_size=self._batch_size.histogram(),
                seconds=self._seconds.histogram(),
            )


class _Buckets:
    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def histogram(self) -> Histogram:
        return Histogram(self._bounds, tuple(self._counts), self._total)
