"""Which texts run together.

Padding is work whose result is thrown away, and a mask is added to every score. So on CPU a batch holds texts of
one length only; neither is needed then. A GPU wants few different shapes, and large ones:
there texts are padded to the nearest of some widths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bucket", "bucket_widths", "plan_batches", "plan_buckets"]

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
