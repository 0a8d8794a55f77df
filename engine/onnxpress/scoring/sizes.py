"""How many bytes each row takes: what chunks and row groups are cut by.

Counted from the values alone, never from buffers, whose sizes depend on where reading began: a job that goes on cuts
where the first run would have cut.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from onnxpress.scoring.values import list_bounds

__all__ = ["row_sizes"]


def row_sizes(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """Bytes of each row's values once decoded, int64 [rows]; a value of a dictionary counts each time."""
    total = np.zeros(batch.num_rows, dtype=np.int64)
    for column in batch.columns:
        total += _sizes(column)
    return total


def _sizes(column: pa.Array) -> NDArray[np.int64]:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _sizes(column.storage)
    if types.is_dictionary(kind):
        places = np.asarray(pc.fill_null(column.indices.cast(pa.int64()), 0))
        known = _sizes(column.dictionary)
        there = np.asarray(column.indices.is_valid())
        return known[places] * there if len(known) else np.zeros(len(column), dtype=np.int64)
    if types.is_struct(kind):
        total = np.zeros(len(column), dtype=np.int64)
        for child in column.flatten():
            total += _sizes(child)
        return total
    if (bounds := list_bounds(column)) is not None:
        begins, ends = bounds
        halves = (column.keys, column.items) if types.is_map(kind) else (column.values,)
        first, last = (int(begins.min()), int(ends.max())) if len(begins) else (0, 0)
        inner = sum(_sizes(half.slice(first, last - first)) for half in halves)
        before: NDArray[np.int64] = np.concatenate([[0], np.cumsum(inner, dtype=np.int64)])
        return before[ends - first] - before[begins - first] + np.int64(8)
    if kind in (pa.string_view(), pa.binary_view()):
        column = column.cast(pa.large_binary())
    elif not (types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or _is_large(kind)):
        width = 0 if types.is_null(kind) else max(1, kind.bit_width // 8)
        return np.full(len(column), width, dtype=np.int64)
    return np.asarray(pc.fill_null(pc.binary_length(column), 0), dtype=np.int64)


def _is_large(kind: pa.DataType) -> bool:
    return bool(types.is_large_binary(kind))
