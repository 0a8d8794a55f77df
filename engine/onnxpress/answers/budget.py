"""What counts of changed answers prove, and what the noise that was seen lets expect. Pure functions."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "chance_kept",
    "chance_within",
    "clopper_pearson",
    "clopper_pearson_upper",
    "texts_needed",
    "wilson_interval",
]

_NORMAL_95: Final = 1.959964
_HALVINGS: Final = 60
"""Steps of a bisection: the interval that is left is narrower than a float64 can tell."""
_MOST_STEPS: Final = 100_000
_ACCURACY: Final = 1e-14
_TINY: Final = 1e-300
_MOST_TEXTS: Final = 10**7
"""More texts than these say as much: an interval of theirs is no wider than a thousandth anyway."""


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of the share that `count` of `total` estimates (Wilson 1927)."""
    share, square = count / total, _NORMAL_95**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = _NORMAL_95 / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return 0.0 if count == 0 else middle - half, 1.0 if count == total else middle + half


def clopper_pearson_upper(changed: int, texts: int, confidence: float = 0.95) -> float:
    """The share that is not exceeded with `confidence`, when `changed` of `texts` changed (Clopper and Pearson 1934).

    The largest share under which as few changes as these are still seen with a probability of 1 - `confidence`:
    one-sided, exact, from 0 to 1.
    """
    if not 0 <= changed <= texts or texts < 1:
        raise ValueError(f"{changed} of {texts} texts changed: no share")
    if changed == texts:
        return 1.0
    low, high = changed / texts, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _binomial_at_most(changed, texts, middle) < 1 - confidence else (middle, high)
    return high


def clopper_pearson(count: int, total: int, confidence: float) -> tuple[float, float]:
    """The exact interval, with `confidence`, of the share that `count` of `total` estimates, two-sided."""
    if total > _MOST_TEXTS:
        count, total = round(count / total * _MOST_TEXTS), _MOST_TEXTS
    one_sided = (1 + confidence) / 2
    return 1 - clopper_pearson_upper(total - count, total, one_sided), clopper_pearson_upper(count, total, one_sided)


def texts_needed(budget: float, confidence: float = 0.95) -> int | None:
    """Texts, none of them changed, that prove a share of at most `budget`: about 3 / budget. None for a budget of 0."""
    if budget <= 0:
        return None
    return math.ceil(math.log(1 - confidence) / math.log1p(-budget) - 1e-9)


def chance_within(share: float, budget: float, texts: int) -> float:
    """The probability that at most a `budget` of `texts` change when each does with probability `share` (binomial)."""
    return _binomial_at_most(math.floor(budget * texts + 1e-9), texts, share)


def chance_kept(
    margins: NDArray[np.float64], noise: NDArray[np.float64], threshold: float = 0.0
) -> NDArray[np.float64]:
    """How likely the noise that was seen turns no decision of a vector, float64 [vectors].

    One less their mean is the share of answers that change, where each text has one vector, and whose own margin then
    still reaches `threshold`. Every margin meets every noise, so that nothing is assumed about the shape of either. A
    decision is lost when noise carries it across its limit; one that lands within `threshold` of it is not counted, as
    its text would be answered again. Decisions are taken as independent; for several of them a text within `threshold`
    of any limit would be answered again, so this is no more than what is kept.

    Args:
        margins: How far each decision of each vector lies from its limit, at least 0, float64 [vectors, decisions].
        noise: What was seen to be added to such margins, negative where it led towards the limit, float64
            [seen, decisions].
        threshold: The margin from which an answer is kept, at least 0.
    """
    if margins.ndim != 2 or noise.ndim != 2 or margins.shape[1] != noise.shape[1]:
        raise ValueError(f"margins {margins.shape} and noise {noise.shape} are not of the same decisions")
    kept = np.ones(len(margins))
    for distances, seen in zip(margins.T, np.sort(noise, axis=0).T, strict=True):
        # strictly: nothing that only reaches the limit has crossed it, and no noise changes nothing
        kept *= 1 - np.searchsorted(seen, -distances - threshold, side="left") / len(seen)
    return kept


def _binomial_at_most(most: int, total: int, share: float) -> float:
    """The probability of at most `most` of `total` at a probability of `share` each."""
    if share <= 0 or most >= total:
        return 1.0
    if share >= 1:
        return 0.0
    more, others = most + 1.0, float(total - most)
    front = math.exp(
        math.lgamma(more + others)
        - math.lgamma(more)
        - math.lgamma(others)
        + more * math.log(share)
        + others * math.log1p(-share)
    )
    if share < (more + 1) / (more + others + 2):  # where the fraction converges in about the root of `total` steps
        return max(0.0, 1.0 - front * _beta_fraction(more, others, share) / more)
    return min(1.0, front * _beta_fraction(others, more, 1 - share) / others)


def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function of `a`, `b` and `x`, by Lentz's method."""
    above = 1.0
    below = 1.0 / _away_from_0(1 - (a + b) * x / (a + 1))
    value = below
    for step in range(1, _MOST_STEPS):
        even = step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1))
        for part in (even, odd):
            below = 1.0 / _away_from_0(1 + part * below)
            above = _away_from_0(1 + part / above)
            value *= above * below
        if abs(above * below - 1) < _ACCURACY:
            break
    return value


def _away_from_0(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
