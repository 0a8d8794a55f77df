"""Which bins of two histograms are compared as one.

Few texts in many bins show differences that are chance alone. So fine bins are joined until each group holds about the
same share of both histograms together: groups that fit the one as well as the other, and that leave nothing of either
out. There is a group for every hundred texts of the smaller profile, up to ten.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["group_categories", "group_histogram", "groups_for"]

_TEXTS_A_GROUP: Final = 100
_MOST: Final = 10


def groups_for(texts: int) -> int:
    """Into how many groups profiles are taken apart of which the smaller has so many texts."""
    return max(2, min(texts // _TEXTS_A_GROUP, _MOST))


def group_histogram(counts: NDArray[np.int64], groups: int) -> list[NDArray[np.intp]]:
    """Neighbouring bins of two histograms, int64 [2, bins], in at most so many `groups`; every bin is in one."""
    share = _shares(counts)
    middles = np.cumsum(share) - share / 2  # where the middle of a bin lies among all values, 0 to 1
    number = np.minimum((middles * groups).astype(np.intp), groups - 1)
    return [np.flatnonzero(number == place) for place in np.unique(number[share > 0])]


def group_categories(counts: NDArray[np.int64], groups: int) -> list[NDArray[np.intp]]:
    """The most frequent categories of two, int64 [2, categories], alone, and the rest together."""
    share = _shares(counts)
    order = np.argsort(-share, kind="stable")
    order = order[share[order] > 0]
    alone, rest = (order, order[:0]) if len(order) <= groups else (order[: groups - 1], order[groups - 1 :])
    return [*(np.array([place]) for place in alone), *([rest] if len(rest) else [])]


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each bin, the mean of its shares of both."""
    shares: NDArray[np.float64] = (counts / counts.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares
