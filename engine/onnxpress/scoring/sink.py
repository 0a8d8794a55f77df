"""Rows and their answers, written in one of the formats."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, Final, Literal, TypeAlias

import msgspec
import pyarrow as pa
from pyarrow import parquet

from onnxpress.scoring.options import Compression, Format
from onnxpress.scoring.plain_tsv import is_unwritable
from onnxpress.scoring.rows import Carried
from onnxpress.scoring.sizes import row_sizes
from onnxpress.scoring.values import csv_texts, encode_json, json_values, unique_names

__all__ = ["GROUP_BYTES", "PARQUET_COMPRESSION", "Write", "json_objects", "open_sink"]

PARQUET_COMPRESSION: Final = "zstd"
GROUP_BYTES: Final = 16 * 2**20
"""Bytes of rows that are held for a row group of a part."""

Write: TypeAlias = Callable[[Carried, Sequence[pa.Array]], None]
"""Writes rows and their answers, an array for each answer column."""


@contextmanager
def open_sink(
    file: BinaryIO,
    kind: Format,
    compression: Compression | None,
    schema: Any,
    answers: Sequence[pa.Field],
    *,
    header: bool,
    quoted_tsv: bool,
) -> Iterator[Write]:
    """Write to `file`, which is whole once this is left.

    Args:
        file: Where to.
        kind: The format.
        compression: Of the whole file; Parquet compresses in itself.
        schema: Types of the carried columns; None where they are JSON objects.
        answers: Types of the answer columns.
        header: Whether CSV begins with the names.
        quoted_tsv: Whether TSV quotes as CSV does; without, a value that TSV cannot hold is left empty.
    """
    with ExitStack() as stack:
        if compression is not None:
            stream: Any = stack.enter_context(pa.CompressedOutputStream(file, compression))
        else:
            stream = file
        if kind == "parquet":
            yield stack.enter_context(_parquet(stream, schema, answers))
        elif kind == "jsonl":
            yield _jsonl(stream, schema, [field.name for field in answers])
        else:
            names = [*schema.names, *(field.name for field in answers)]
            lines = _plain_tsv if kind == "tsv" and not quoted_tsv else _quoting("\t" if kind == "tsv" else ",")
            yield _table(stream, lines, names if header else None)


def json_objects(batch: pa.RecordBatch) -> list[bytes]:
    """Each row as a JSON object. Bytes that are no UTF-8 become U+FFFD; columns of one name get suffixes."""
    names = unique_names(batch.schema.names)
    if not names:
        return [b"{}"] * batch.num_rows
    rows = zip(*map(json_values, batch.columns), strict=True)
    return [encode_json(dict(zip(names, row, strict=True))) for row in rows]


@contextmanager
def _parquet(stream: BinaryIO, carried_schema: pa.Schema, answer_fields: Sequence[pa.Field]) -> Iterator[Write]:
    schema = pa.schema([*carried_schema, *answer_fields], metadata=carried_schema.metadata)
    held: list[pa.RecordBatch] = []
    size = 0

    def flush() -> None:
        nonlocal size
        writer.write_table(pa.Table.from_batches(held, schema))
        held.clear()
        size = 0

    def write(carried: Carried, answers: Sequence[pa.Array]) -> None:
        nonlocal size
        held.append(pa.RecordBatch.from_arrays([*carried.columns, *answers], schema=schema))
        size += int(row_sizes(held[-1]).sum())
        if size >= GROUP_BYTES:
            flush()

    with parquet.ParquetWriter(stream, schema, compression=PARQUET_COMPRESSION) as writer:
        yield write
        if held:
            flush()


def _jsonl(stream: BinaryIO, schema: pa.Schema | None, names: Sequence[str]) -> Write:
    keys = [msgspec.json.encode(name) + b":" for name in names]

    def write(carried: Carried, answers: Sequence[pa.Array]) -> None:
        objects: list[bytes] = carried if schema is None else json_objects(carried)
        tokens = [
            [key + encode_json(value) for value in json_values(column)]
            for key, column in zip(keys, answers, strict=True)
        ]
        for line, *members in zip(objects, *tokens, strict=True):
            body = line[:-1].rstrip()
            comma = b"" if body == b"{" or not members else b","
            stream.write(body + comma + b",".join(members) + b"}\n")

    return write


_Lines: TypeAlias = Callable[[Sequence[Sequence[str | None]]], str]
"""Rows of fields as lines."""


def _table(stream: BinaryIO, lines: _Lines, names: Sequence[str] | None) -> Write:
    def write(carried: Carried, answers: Sequence[pa.Array]) -> None:
        stream.write(lines(list(zip(*map(csv_texts, [*carried.columns, *answers]), strict=True))).encode("utf-8"))

    if names is not None:
        stream.write(lines([names]).encode("utf-8"))
    return write


def _quoting(delimiter: str) -> _Lines:
    def written(rows: Sequence[Sequence[str | None]], quoting: Literal[0, 1]) -> str:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerows(rows)
        return text.getvalue()

    def lines(rows: Sequence[Sequence[str | None]]) -> str:
        text = written(rows, csv.QUOTE_MINIMAL)
        # which Python before 3.13 leaves without quotes
        return written(rows, csv.QUOTE_ALL) if "\r" in text else text

    return lines


def _plain_tsv(rows: Sequence[Sequence[str | None]]) -> str:
    return "".join(
        "\t".join("" if value is None or is_unwritable(value) else value for value in row) + "\n" for row in rows
    )
