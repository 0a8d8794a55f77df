"""From samples to figures: percentiles, and ratios with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

__all__ = ["Ratio", "median", "paired_ratio", "percentile"]

_RESAMPLES: Final = 10_000
_SEED: Final = 7


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """How many times larger one system's figure is, with the 95 % interval over `pairs` paired rounds."""

    value: float
    low: float
    high: float
    pairs: int


def percentile(samples: Sequence[int], percent: float) -> float:
    """The `percent`-th percentile of `samples`, interpolated between neighbours."""
    return float(np.percentile(samples, percent))


def median(samples: Sequence[float]) -> float:
    """The middle of `samples`."""
    return float(np.median(samples))


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """The geometric mean of paired ratios, with a bootstrap percentile interval over the pairs.

    Each pair was measured in the same round, so what slows a whole round cancels. With few rounds the interval is
    narrower than its nominal 95 %: it shows the spread that was seen, not what a longer run might find.
    """
    logs = np.log(np.asarray(numerators, dtype=float) / np.asarray(denominators, dtype=float))
    draws = np.random.default_rng(_SEED).integers(0, len(logs), (_RESAMPLES, len(logs)))
    low, high = np.percentile(logs[draws].mean(axis=1), (2.5, 97.5))
    return Ratio(value=float(np.exp(logs.mean())), low=float(np.exp(low)), high=float(np.exp(high)), pairs=len(logs))
