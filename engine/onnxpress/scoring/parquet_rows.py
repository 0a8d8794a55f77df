"""Parquet: row group by row group, a few rows at a time, in chunks that are cut by their real bytes.

What a row takes is told by no footer: a dictionary holds a value once that stands in a million rows, and an average
says nothing of a file whose long rows lie together. So few rows are decoded at once, fewer where they are long.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet, types

from onnxpress.scoring.sizes import row_sizes

__all__ = ["ParquetChunk", "open_parquet", "parquet_cells", "parquet_chunks"]

_BUFFER: Final = 2**20
_READ_BYTES: Final = 4 * 2**20  # that the rows decoded at once should have
_FIRST_ROWS: Final = 8  # of a row group, which tell how many may be decoded at once
_MOST_ROWS: Final = 256  # decoded at once: so many long rows may follow short ones unforeseen
_SHRINKS_BY: Final = 4  # a row group is opened again for so much smaller steps


class ParquetChunk(NamedTuple):
    """Consecutive rows.

    Attributes:
        rows: The rows.
        start, end: Places of the first row in the file, and of the one behind the last.
        ends_cell: Whether a cell of `parquet_cells` ends with them.
    """

    rows: pa.RecordBatch
    start: int
    end: int
    ends_cell: bool


def open_parquet(file: BinaryIO) -> parquet.ParquetFile:
    """Open `file` so that pages are read as they are needed."""
    return parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)


def parquet_cells(rows: int, start: int, cell_rows: int) -> Iterator[tuple[int, int]]:
    """Where the cells behind `start` begin and end: every `cell_rows` of the file's `rows`, whatever their bytes."""
    while start < rows:
        end = min(rows, (start // cell_rows + 1) * cell_rows)
        yield start, end
        start = end


def parquet_chunks(
    opened: parquet.ParquetFile, start: int, *, cell_rows: int, chunk_bytes: int
) -> Iterator[ParquetChunk]:
    """The rows behind the place `start` in chunks of at most `chunk_bytes`, or of one row; none goes over a cell's end.

    Where a chunk ends depends on the rows behind `start` alone.
    """
    held: list[pa.RecordBatch] = []
    end, size = start, 0
    for batch, sizes in _decoded(opened, start):
        while len(batch):
            cell_end = min(opened.metadata.num_rows, (start // cell_rows + 1) * cell_rows)
            fitting = int(np.searchsorted(np.cumsum(sizes), chunk_bytes - size, side="right"))
            taken = min(max(fitting, 0 if held else 1), cell_end - end, len(batch))
            held.append(batch.slice(0, taken))
            end, size = end + taken, size + int(sizes[:taken].sum())
            batch, sizes = batch.slice(taken), sizes[taken:]
            if len(batch) or end == cell_end:
                yield ParquetChunk(_joined(held, opened.schema_arrow), start, end, end == cell_end)
                start, held, size = end, [], 0


def _decoded(opened: parquet.ParquetFile, start: int) -> Iterator[tuple[pa.RecordBatch, NDArray[np.int64]]]:
    """The rows behind the place `start`, and the bytes of each; whole row groups before it are passed over unread."""
    for group in range(opened.metadata.num_row_groups):
        rows = opened.metadata.row_group(group).num_rows
        if start >= rows:
            start -= rows
            continue
        first = islice(_steps(opened, group, _FIRST_ROWS), 1)
        longest = max((int(row_sizes(batch).max()) for batch in first), default=0)
        while start < rows:
            step = _fitting_rows(longest)
            for batch in _behind(_steps(opened, group, step), start):
                sizes = row_sizes(batch)
                yield batch, sizes
                start += len(batch)
                longest = max(longest, int(sizes.max()))
                if _fitting_rows(longest) * _SHRINKS_BY <= step:
                    break
        start = 0


def _steps(opened: parquet.ParquetFile, group: int, rows: int) -> Iterator[pa.RecordBatch]:
    steps: Iterator[pa.RecordBatch] = opened.iter_batches(rows, row_groups=[group], use_threads=False)
    return steps


def _behind(batches: Iterator[pa.RecordBatch], skipped: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if skipped < len(batch):
            yield batch.slice(skipped)
        skipped -= min(skipped, len(batch))


def _fitting_rows(longest: int) -> int:
    """How many rows are decoded at once, when one may have `longest` bytes."""
    return min(_MOST_ROWS, max(1, _READ_BYTES // max(1, longest)))


def _joined(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    table = pa.Table.from_batches(batches, schema).combine_chunks()
    columns = [_settled(_only(column), field.type) for column, field in zip(table.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _only(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _settled(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column with a dictionary of its own values alone: the reader's depends on where reading began."""
    if not types.is_dictionary(kind):
        return column
    encoded = column.cast(kind.value_type).dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        encoded.indices.cast(kind.index_type), encoded.dictionary, ordered=kind.ordered
    )
