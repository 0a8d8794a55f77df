"""Which texts run together.

Padding is work whose result is thrown away, and a mask is added to every score. So on CPU a batch holds texts of
one length only; neither is needed then. A GPU wants few different shapes, and large ones:
there texts are padded to the nearest of some widths.

A service has a few texts of as many lengths. On a graph that packs them, padding costs in the attentions alone, which
work on height x width x width scores: `plan_packed` lets texts of different widths share a run only where the run that
is saved is worth the scores that are added. So a plan is never dearer than its texts one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PACKED_STEP",
    "Bucket",
    "bucket_widths",
    "packed_width",
    "plan_batches",
    "plan_buckets",
    "plan_packed",
    "rows_of_width",
    "widths_together",
]

PACKED_STEP: Final = 16
"""Widths of packed texts are its multiples: then no sum in an attention is blocked otherwise for other padding."""

_STEPS: Final = ((64, 8), (256, 32))  # up to a width, by steps of
_STEP: Final = 128


def plan_batches(lengths: NDArray[np.int64], *, max_tokens: int, workers: int = 1) -> list[NDArray[np.intp]]:
    """Group texts of equal length into batches of at most `max_tokens` tokens.

    Batches come largest first, so that workers taking them in turn finish together. Where all texts together
    would not fill a batch for each worker, batches shrink to keep every worker busy.

    Args:
        lengths: Tokens a text, [texts].
        max_tokens: Tokens a batch may have; a longer text makes a batch of its own.
        workers: How many batches run at once.

    Returns:
        Indices into `lengths`, one array a batch; each index occurs once.
    """
    if len(lengths) == 0:
        return []
    budget = min(max_tokens, -(-int(lengths.sum()) // workers))
    order = np.argsort(-lengths, kind="stable")
    starts = np.flatnonzero(np.diff(lengths[order], prepend=-1))
    batches: list[NDArray[np.intp]] = []
    for group in np.split(order, starts[1:]):
        rows = max(1, budget // max(1, int(lengths[group[0]])))
        batches += [group[start : start + rows] for start in range(0, len(group), rows)]
    batches.sort(key=lambda batch: -len(batch) * int(lengths[batch[0]]))
    return batches


@dataclass(frozen=True, slots=True)
class Bucket:
    """A padded batch.

    Attributes:
        rows: Indices of its texts.
        height, width: Rows and tokens that it is padded to.
    """

    rows: NDArray[np.intp]
    height: int
    width: int


def bucket_widths(max_length: int) -> list[int]:
    """The widths that texts are padded to, ascending; the last is `max_length`."""
    widths: list[int] = []
    start = 0
    for end, step in (*_STEPS, (max_length, _STEP)):
        widths += range(start + step, min(end, max_length) + 1, step)
        start = max(start, end)
    return widths if widths and widths[-1] == max_length else [*widths, max_length]


def plan_buckets(lengths: NDArray[np.int64], widths: Sequence[int], *, max_tokens: int) -> list[Bucket]:
    """Group texts of neighbouring lengths into padded batches of at most `max_tokens` tokens, padding included.

    Heights are powers of two, so that few shapes occur. Batches come largest first.

    Args:
        lengths: Tokens a text, [texts].
        widths: The widths that there are, ascending, as `bucket_widths` gives them.
        max_tokens: Tokens a batch may have; a longer text makes a batch of its own.

    Returns:
        Batches whose rows, together, hold each index once.
    """
    order = np.argsort(-lengths, kind="stable")
    fitting = np.asarray(widths)[np.searchsorted(widths, lengths[order])]
    buckets = []
    for width in dict.fromkeys(fitting.tolist()):
        group = order[fitting == width]
        most = 1 << (max(1, max_tokens // width).bit_length() - 1)
        for start in range(0, len(group), most):
            rows = group[start : start + most]
            buckets.append(Bucket(rows, 1 << (len(rows) - 1).bit_length(), width))
    return sorted(buckets, key=lambda bucket: -bucket.height * bucket.width)


def packed_width(tokens: int, max_length: int) -> int:
    """What a row of `tokens` tokens is padded to beside others: a multiple of 16, or the longest there is."""
    return min(-(-tokens // PACKED_STEP) * PACKED_STEP, max_length)


def rows_of_width(width: int, max_tokens: int) -> int:
    """Rows of `width` tokens that a batch of at most `max_tokens` holds, padding included; at least one."""
    return max(1, max_tokens // max(1, width))


def widths_together(waiting: Mapping[int, int], *, max_tokens: int, run_cost: int) -> list[list[int]]:
    """Which widths share their batches, so that all rows cost least.

    A batch costs `run_cost`, whatever is in it, and height x width x width scores. What else a run does is the same in
    any company. Widths that share are neighbours, and all rows of a width stay together.

    Args:
        waiting: Rows of each width.
        max_tokens: Tokens a batch may have, padding included; a longer row makes a batch of its own.
        run_cost: What a run costs before its first token, in scores.

    Returns:
        Lists of widths, each descending; every width is in one.
    """
    widths = sorted(waiting, reverse=True)
    cheapest, begins = [0.0], [0]  # of the first n widths: their cost, and where their last list begins
    for end in range(1, len(widths) + 1):
        best, begin = inf, end - 1
        rows, narrowest = 0, widths[end - 1]
        for start in range(end - 1, -1, -1):
            width = widths[start]
            if width**2 - narrowest**2 > run_cost:  # a run saved is worth less than one row's padding
                break
            rows += waiting[width]
            runs = -(-rows // rows_of_width(width, max_tokens))
            if (cost := cheapest[start] + runs * run_cost + rows * width**2) < best:
                best, begin = cost, start
        cheapest.append(best)
        begins.append(begin)
    together: list[list[int]] = []
    end = len(widths)
    while end:
        together.append(widths[begins[end] : end])
        end = begins[end]
    return together[::-1]


def plan_packed(lengths: NDArray[np.int64], *, max_tokens: int, max_length: int, run_cost: int) -> list[Bucket]:
    """Group texts into batches of which each text is padded to its batch's widest. Widest first.

    Args:
        lengths: Tokens a text, [texts].
        max_tokens: Tokens a batch may have, padding included; a longer text makes a batch of its own.
        max_length: The longest text there is.
        run_cost: What a run costs before its first token, in scores of one attention (`widths_together`).

    Returns:
        Batches whose rows, together, hold each index once.
    """
    order = np.argsort(-lengths, kind="stable")
    widths = np.array([packed_width(int(length), max_length) for length in lengths[order]], dtype=np.int64)
    waiting = dict(zip(*(found.tolist() for found in np.unique(widths, return_counts=True)), strict=True))
    buckets = []
    for shared in widths_together(waiting, max_tokens=max_tokens, run_cost=run_cost):
        rows = order[(widths <= shared[0]) & (widths >= shared[-1])]
        most = rows_of_width(shared[0], max_tokens)
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            buckets.append(Bucket(part, len(part), packed_width(int(lengths[part[0]]), max_length)))
    return buckets
