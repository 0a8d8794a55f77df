"""Which texts run together.

Padding is work whose result is thrown away, and on CPU an attention mask costs the fast attention kernel. So
a batch holds texts of one length only; neither is needed then.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["plan_batches"]


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
