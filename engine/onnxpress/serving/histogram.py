"""How often values fell between fixed bounds."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

__all__ = ["Buckets", "Histogram"]


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


class Buckets:
    """A histogram that grows; one thread at a time."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Begin with no values."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def add_all(self, values: NDArray[np.float64]) -> None:
        """Count each of some values."""
        found = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts))
        self._counts = [count + more for count, more in zip(self._counts, found.tolist(), strict=True)]
        self._total += float(values.sum())

    def histogram(self) -> Histogram:
        """What there is now."""
        return Histogram(self._bounds, tuple(self._counts), self._total)
