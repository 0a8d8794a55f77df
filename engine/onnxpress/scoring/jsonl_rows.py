"""JSONL: an object a line, which keeps its bytes in JSONL; for tables, a first reading finds the types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Final, cast

import msgspec
import pyarrow as pa

from onnxpress.errors import ConfigError
from onnxpress.scoring.json_text import decode_json
from onnxpress.scoring.rows import Problem
from onnxpress.scoring.text_rows import Lines, Row

__all__ = ["JsonRow", "infer_fields", "json_batch", "jsonl_rows"]

_UNFIT: Final = (pa.ArrowException, TypeError, OverflowError)
_JSON_TEXT: Final = pa.large_string()  # told from text by its type, which the journal keeps


class JsonRow(msgspec.Struct, frozen=True):
    """An object, and the line that it was read from."""

    line: bytes
    members: dict[str, Any]


def jsonl_rows(stream: BinaryIO, name: str, offset: int) -> Iterator[Row]:
    """The rows from the byte `offset`; blank lines are passed over."""
    lines = Lines(stream, name, offset)
    for line in lines:
        lines.forget()
        if bare := line.strip():
            yield _parse(bare, lines.offset)


def infer_fields(blocks: Iterable[Sequence[dict[str, Any]]]) -> dict[str, pa.DataType]:
    """The type of each member over all objects, in order of appearance.

    Where no one type holds all of a member's values it is text, each value as JSON.
    """
    types: dict[str, pa.DataType] = {}
    for block in blocks:
        names = dict.fromkeys(name for members in block for name in members)
        for name in names:
            found = _infer([members.get(name) for members in block])
            types[name] = _wider(types[name], found) if name in types else found
    return {name: _holdable(kind) for name, kind in types.items()}


def json_batch(rows: Sequence[Row], schema: pa.Schema, name: str, before: int) -> pa.RecordBatch:
    """The rows as columns of `schema`, as `infer_fields` found it.

    Raises:
        ConfigError: A value does not fit; names the file `name` and the row, `before` of which were before these.
    """
    members = [cast("JsonRow", row.values).members if row.values else {} for row in rows]
    columns = []
    for field in schema:
        values = [found.get(field.name) for found in members]
        if _is_json_text(field):
            values = [None if value is None else msgspec.json.encode(value).decode() for value in values]
        try:
            columns.append(pa.array(values, field.type))
        except _UNFIT as error:
            row = next(index for index, value in enumerate(values) if not _fits(value, field.type))
            raise ConfigError(
                f"{name}: row {before + row + 1:,} has a {field.name!r} that does not fit {field.type}, the type of "
                f"that column ({error}). Write JSONL instead."
            ) from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _fits(value: object, kind: pa.DataType) -> bool:
    try:
        pa.array([value], kind)
    except _UNFIT:
        return False
    return True


def _is_json_text(field: pa.Field) -> bool:
    """Whether a column holds JSON because its values are of several types."""
    return bool(field.type == _JSON_TEXT)


def _parse(line: bytes, end: int) -> Row:
    try:
        members = decode_json(line)
    except (ValueError, RecursionError) as error:
        return Row(None, Problem(f"is not JSON ({error})", line.decode("utf-8", "replace")), end)
    if not isinstance(members, dict):
        return Row(None, Problem(f"is a JSON {type(members).__name__}, not an object", line.decode()), end)
    return Row(JsonRow(line, members), None, end)


def _infer(values: Sequence[object]) -> pa.DataType:
    try:
        return pa.array(values).type
    except _UNFIT:
        return _JSON_TEXT


def _holdable(kind: pa.DataType) -> pa.DataType:
    """`kind`, or what takes its place: nulls alone are text, and Parquet holds no object that never has a member."""
    if pa.types.is_null(kind):
        return pa.string()
    return _JSON_TEXT if _has_empty_struct(kind) else kind


def _has_empty_struct(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return True
    return any(_has_empty_struct(kind.field(index).type) for index in range(kind.num_fields))


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if _JSON_TEXT in (one, other):
        return _JSON_TEXT
    schemas = [pa.schema([("value", kind)]) for kind in (one, other)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field("value").type
    except pa.ArrowException:
        return _JSON_TEXT
