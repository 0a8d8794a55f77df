"""Parquet: a few pages at a time, whatever the size of its row groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import pyarrow as pa
from pyarrow import parquet

from onnxpress.scoring.rows import Position

__all__ = ["open_parquet", "parquet_batches", "parquet_chunk_rows"]

_BUFFER: Final = 2**20


def open_parquet(file: BinaryIO) -> parquet.ParquetFile:
    """Open `file` so that pages are read as they are needed."""
    return parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)


def parquet_chunk_rows(opened: parquet.ParquetFile, *, chunk_rows: int, chunk_bytes: int) -> int:
    """Rows that are classified together: `chunk_rows`, fewer where the footer says that they exceed `chunk_bytes`."""
    metadata = opened.metadata
    size: int = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    rows: int = metadata.num_rows
    return max(1, min(chunk_rows, chunk_bytes * rows // max(1, size)))


def parquet_batches(opened: parquet.ParquetFile, start: Position, rows: int) -> Iterator[pa.RecordBatch]:
    """The rows after `start`, `rows` at a time; whole row groups before it are passed over unread."""
    metadata = opened.metadata
    first, skip = 0, start.offset
    while first < metadata.num_row_groups and skip >= metadata.row_group(first).num_rows:
        skip -= metadata.row_group(first).num_rows
        first += 1
    groups = list(range(first, metadata.num_row_groups))
    schema = opened.schema_arrow
    held: list[pa.RecordBatch] = []
    count = 0
    for read in opened.iter_batches(rows, row_groups=groups, use_threads=False) if groups else ():
        batch = read.slice(skip)
        skip -= min(skip, len(read))
        while len(batch):
            taken = batch.slice(0, rows - count)
            batch = batch.slice(len(taken))
            held.append(taken)
            count += len(taken)
            if count == rows:
                yield _joined(held, schema)
                held, count = [], 0
    if held:
        yield _joined(held, schema)


def _joined(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    table = pa.Table.from_batches(batches, schema).combine_chunks()
    columns = [_settled(_only(column), field.type) for column, field in zip(table.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _only(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _settled(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column with a dictionary of its own values alone: the reader's depends on where reading began."""
    if not pa.types.is_dictionary(kind):
        return column
    encoded = column.cast(kind.value_type).dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        encoded.indices.cast(kind.index_type), encoded.dictionary, ordered=kind.ordered
    )
