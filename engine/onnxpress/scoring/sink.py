"""Rows and their answers, written in one of the formats."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, Final, Literal, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from onnxpress.scoring.options import Compression, Format
from onnxpress.scoring.rows import Carried

__all__ = ["PARQUET_COMPRESSION", "Write", "json_objects", "open_sink"]

PARQUET_COMPRESSION: Final = "zstd"


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
) -> Iterator[Write]:
    """Write to `file`, which is whole once this is left.

    Args:
        file: Where to.
        kind: The format.
        compression: Of the whole file; Parquet compresses in itself.
        schema: Types of the carried columns; None where they are JSON objects.
        answers: Types of the answer columns.
        header: Whether CSV begins with the names.
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
            yield _csv(stream, "\t" if kind == "tsv" else ",", [*schema.names, *(f.name for f in answers)], header)


def _unique_names(names: Iterable[str]) -> list[str]:
    """`names`, where the second of the same name gets the first free suffix of _1, _2, …: for JSON objects."""
    wanted = list(names)
    used: set[str] = set()
    found = []
    for name in wanted:
        free, suffix = name, 0
        while free in used or (suffix and free in wanted):
            suffix += 1
            free = f"{name}_{suffix}"
        used.add(free)
        found.append(free)
    return found


def _json_tokens(column: pa.Array) -> list[bytes]:
    """Each value as JSON; a float is written as short as it reads back, null where it is not finite."""
    if pa.types.is_floating(column.type):
        finite = np.isfinite(column.to_numpy(zero_copy_only=False))
        texts = column.cast(pa.string()).to_pylist()
        return [text.encode() if ok else b"null" for text, ok in zip(texts, finite.tolist(), strict=True)]
    return [msgspec.json.encode(value) for value in column.to_pylist()]


def json_objects(batch: pa.RecordBatch) -> list[bytes]:
    """Each row as a JSON object. Bytes that are no UTF-8 become U+FFFD; columns of one name get suffixes."""
    names = _unique_names(batch.schema.names)
    if not names:
        return [b"{}"] * batch.num_rows
    rows = zip(*map(_python_values, batch.columns), strict=True)
    return [_encode(dict(zip(names, row, strict=True))) for row in rows]


@contextmanager
def _parquet(stream: BinaryIO, carried_schema: pa.Schema, answer_fields: Sequence[pa.Field]) -> Iterator[Write]:
    schema = pa.schema([*carried_schema, *answer_fields], metadata=carried_schema.metadata)
    batches: list[pa.RecordBatch] = []

    def write(carried: Carried, answers: Sequence[pa.Array]) -> None:
        batches.append(pa.RecordBatch.from_arrays([*carried.columns, *answers], schema=schema))

    with parquet.ParquetWriter(stream, schema, compression=PARQUET_COMPRESSION) as writer:
        yield write
        writer.write_table(pa.Table.from_batches(batches, schema))


def _jsonl(stream: BinaryIO, schema: pa.Schema | None, names: Sequence[str]) -> Write:
    keys = [msgspec.json.encode(name) + b":" for name in names]

    def write(carried: Carried, answers: Sequence[pa.Array]) -> None:
        objects: list[bytes] = carried if schema is None else json_objects(carried)
        tokens = [[key + token for token in _json_tokens(column)] for key, column in zip(keys, answers, strict=True)]
        for line, *members in zip(objects, *tokens, strict=True):
            body = line[:-1].rstrip()
            comma = b"" if body == b"{" or not members else b","
            stream.write(body + comma + b",".join(members) + b"}\n")

    return write


def _csv(stream: BinaryIO, delimiter: str, names: Sequence[str], header: bool) -> Write:
    def lines(rows: Sequence[Sequence[str | None]], quoting: Literal[0, 1]) -> str:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerows(rows)
        return text.getvalue()

    def put(rows: Sequence[Sequence[str | None]]) -> None:
        text = lines(rows, csv.QUOTE_MINIMAL)
        if "\r" in text:  # which Python before 3.13 leaves without quotes
            text = lines(rows, csv.QUOTE_ALL)
        stream.write(text.encode("utf-8"))

    def write(carried: Carried, answers: Sequence[pa.Array]) -> None:
        put(list(zip(*map(_csv_values, [*carried.columns, *answers]), strict=True)))

    if header:
        put([names])
    return write


def _csv_values(column: pa.Array) -> list[str | None]:
    if not pa.types.is_nested(column.type) and not pa.types.is_binary(column.type):
        try:
            texts: list[str | None] = column.cast(pa.string()).to_pylist()
            return texts
        except (pa.ArrowException, UnicodeDecodeError):  # no words for this type, or no text
            pass
    return [None if value is None else _json_text(value) for value in _python_values(column)]


def _json_text(value: object) -> str:
    if isinstance(value, str):
        return value
    encoded = _encode(value).decode()
    return encoded[1:-1] if isinstance(value, bytes) else encoded


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)


def _python_values(column: pa.Array) -> list[object]:
    if (kind := _without_nanoseconds(column.type)) != column.type:  # which Python's own types do not count
        column = column.cast(kind)
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [
            value if value is None else value.decode("utf-8", "replace")
            for value in column.cast(pa.large_binary()).to_pylist()
        ]


def _without_nanoseconds(kind: pa.DataType) -> pa.DataType:
    """`kind` with text in place of times that count nanoseconds, at any depth of structs and lists."""
    is_time = pa.types.is_timestamp(kind) or pa.types.is_time64(kind) or pa.types.is_duration(kind)
    if is_time and kind.unit == "ns":
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_nanoseconds(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_without_nanoseconds(kind.value_type)))
    return kind
