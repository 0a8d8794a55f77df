"""From samples to figures: percentiles, and ratios with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "LEAST_PAIRS",
    "Ratio",
    "least_samples",
    "log_ratio_interval",
    "mean_ratio",
    "median",
    "paired_ratio",
    "percentile",
    "shared_confidence",
]

LEAST_PAIRS: Final = 8
"""Blocks, or repetitions, that a verdict needs: of fewer, a single odd one decides."""

_BEYOND: Final = 10


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """How many times larger one system's figure is, over `pairs` blocks.

    Attributes:
        value: The geometric mean.
        low, high: The ends of its interval; None of a single block, which has none.
        pairs: Blocks, in each of which both were measured.
    """

    value: float
    low: float | None
    high: float | None
    pairs: int

    @property
    def excludes_one(self) -> bool:
        """Whether the interval leaves out equality; without an interval it does not."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high


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
    """The geometric mean of paired ratios, with an interval over the pairs.

    Each pair was measured in the same block, so what slows a whole block cancels.
    """
    logs = np.log(np.asarray(numerators, dtype=float) / np.asarray(denominators, dtype=float))
    return mean_ratio(logs, confidence)


def mean_ratio(logs: NDArray[np.float64], confidence: float = 0.95) -> Ratio:
    """The geometric mean of ratios, of which `logs` are the logarithms, with its interval."""
    found = log_ratio_interval(logs, confidence)
    low, high = (None, None) if found is None else (float(np.exp(end)) for end in found)
    return Ratio(value=float(np.exp(logs.mean())), low=low, high=high, pairs=len(logs))


def log_ratio_interval(logs: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's interval of the mean of `logs`, one a block; None of fewer than two, which tell nothing of the spread.

    Resampling is no help here: a mean of resampled blocks never leaves their range, so that its interval covers the
    truth at most half of the time with two blocks, and three times in four with three.
    """
    count = len(logs)
    if count < 2:
        return None
    middle, half = float(logs.mean()), _student(confidence, count - 1) * float(logs.std(ddof=1)) / math.sqrt(count)
    return middle - half, middle + half


def shared_confidence(confidence: float, tests: int) -> float:
    """The confidence of each of `tests` intervals that hold all at once with `confidence` (Bonferroni)."""
    return 1 - (1 - confidence) / tests


@lru_cache
def _student(confidence: float, freedom: int) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, freedom))
