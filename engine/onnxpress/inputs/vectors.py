"""Logit vectors of several rows or texts, one's after the other's, where each may have several."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bounds", "bounds_of", "places_of", "split_vectors", "taken"]

Bounds = NDArray[np.intp]
"""Where each item's vectors begin, and where the last one's end: ascending from 0, intp [items + 1]."""


def bounds_of(counts: NDArray[np.int64]) -> Bounds:
    """Bounds of items that have so many vectors each."""
    bounds = np.zeros(len(counts) + 1, dtype=np.intp)
    np.cumsum(counts, out=bounds[1:])
    return bounds


def places_of(items: NDArray[np.intp], bounds: Bounds | None) -> NDArray[np.intp]:
    """Places of the vectors of `items`, one item's after the other's; None stands for one vector each."""
    if bounds is None:
        return items
    begins, counts = bounds[items], np.diff(bounds)[items]
    before = np.cumsum(counts) - counts
    return np.repeat(begins - before, counts) + np.arange(int(counts.sum()))


def split_vectors(vectors: NDArray[np.float32], bounds: Bounds) -> list[NDArray[np.float32]]:
    """The vectors of each item."""
    return [vectors[begin:end] for begin, end in pairwise(bounds.tolist())]


def taken(items: NDArray[np.intp], bounds: Bounds | None) -> Bounds | None:
    """Bounds of `items` alone, in their order; None where each has one vector."""
    return None if bounds is None else bounds_of(np.diff(bounds)[items])
