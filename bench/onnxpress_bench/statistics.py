"""From samples to figures: percentiles, and ratios with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["Ratio", "least_samples", "log_ratio_interval", "median", "paired_ratio", "percentile"]

_RESAMPLES: Final = 10_000
_SEED: Final = 7
_BEYOND: Final = 10


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """How many times larger one system's figure is, with the 95 % interval over `pairs` paired blocks."""

    value: float
    low: float
    high: float
    pairs: int

    @property
    def excludes_one(self) -> bool:
        """Whether the interval leaves out equality."""
        return not self.low <= 1 <= self.high


def percentile(samples: Sequence[int], percent: float) -> float:
    """The `percent`-th percentile of `samples`, interpolated between neighbours."""
    return float(np.percentile(samples, percent))


def least_samples(percent: float) -> int:
    """How many samples the `percent`-th percentile needs, so that ten lie beyond it; 1,000 for the 99th."""
    return round(_BEYOND / (1 - percent / 100))


def median(samples: Sequence[float]) -> float:
    """The middle of `samples`."""
    return float(np.median(samples))


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float], *, confidence: float = 0.95) -> Ratio:
    """The geometric mean of paired ratios, with a bootstrap interval over the pairs.

    Each pair was measured in the same block, so what slows a whole block cancels.
    """
    logs = np.log(np.asarray(numerators, dtype=float) / np.asarray(denominators, dtype=float))
    low, high = log_ratio_interval(logs, confidence)
    return Ratio(value=float(np.exp(logs.mean())), low=float(np.exp(low)), high=float(np.exp(high)), pairs=len(logs))


def log_ratio_interval(logs: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """The bootstrap interval of the mean of `logs`, one a block, widened for few blocks.

    Percentiles of resampled means are too narrow for few blocks, by the square root of n/(n-1) and by the difference of
    Student's distribution from the normal one; the percentiles taken are moved out by both (the "expanded percentile
    interval": Hesterberg, What Teachers Should Know About the Bootstrap, 2015, section 4.2).
    """
    count = len(logs)
    if count < 2:
        return float(logs.mean()), float(logs.mean())
    reach = np.sqrt(count / (count - 1)) * stats.t.ppf((1 + confidence) / 2, count - 1)
    tail = stats.norm.cdf(-reach)
    draws = np.random.default_rng(_SEED).integers(0, count, (_RESAMPLES, count))
    low, high = np.quantile(logs[draws].mean(axis=1), (tail, 1 - tail))
    return float(low), float(high)
