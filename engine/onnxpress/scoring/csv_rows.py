"""CSV and TSV: every column is text, exactly as it stands there."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

import pyarrow as pa

from onnxpress.errors import ConfigError
from onnxpress.scoring.rows import Problem
from onnxpress.scoring.text_rows import MAX_FIELD, Lines, Row

__all__ = ["csv_batch", "csv_header", "csv_rows"]


def csv_header(stream: BinaryIO, name: str, delimiter: str) -> list[str]:
    """The names of the columns.

    Raises:
        ConfigError: There is no header, or it is not UTF-8.
    """
    row = next(_records(Lines(stream, name, 0), delimiter), None)
    if row is None:
        raise ConfigError(f"{name}: has no header. The first row must name the columns.")
    if row.problem is not None:
        raise ConfigError(f"{name}: the header {row.problem.reason}. The first row must name the columns.")
    return cast("list[str]", row.values)


def csv_rows(stream: BinaryIO, name: str, delimiter: str, width: int, offset: int) -> Iterator[Row]:
    """The rows from the byte `offset`, `width` values each; blank lines and the header are passed over."""
    records = _records(Lines(stream, name, offset), delimiter)
    if offset == 0:
        next(records, None)
    for row in records:
        if row.values is None or len(fields := cast("list[str]", row.values)) == width:
            yield row
        else:
            raw = delimiter.join(fields)
            yield Row(None, Problem(f"has {len(fields):,} fields, the header has {width:,}", raw), row.end)


def csv_batch(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    """The rows as columns of text; a row that could not be read is all null."""
    values = [cast("list[str] | None", row.values) or (None,) * len(schema) for row in rows]
    columns = zip(*values, strict=True) if values else ((),) * len(schema)
    return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], schema=schema)


def _records(lines: Lines, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(max(MAX_FIELD, csv.field_size_limit()))
    reader = csv.reader((line.decode("utf-8", "surrogateescape") for line in lines), delimiter=delimiter, strict=True)
    while True:
        lines.forget()
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raw = b"".join(lines.taken).decode("utf-8", "replace")
            yield Row(None, Problem(f"cannot be read ({error})", raw), lines.offset)
            continue
        if fields is None:
            return
        if not fields:
            continue
        if all(map(_is_utf8, lines.taken)):
            yield Row(fields, None, lines.offset)
        else:
            repaired = [field.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for field in fields]
            yield Row(repaired, Problem("is not UTF-8"), lines.offset)


def _is_utf8(line: bytes) -> bool:
    if line.isascii():
        return True
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
