"""Arrow's values as JSON and CSV hold them: every type, at any depth, without pandas."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import Any, Final
from uuid import UUID

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

__all__ = ["csv_texts", "encode_json", "json_values", "list_bounds", "unique_names"]

_OUT_OF_RANGE: Final = "<value out of range: "


def encode_json(value: object) -> bytes:
    """A value of `json_values` as JSON: bytes are base64, a float that is not finite is null."""
    return msgspec.json.encode(value, enc_hook=str)


def unique_names(names: Iterable[str]) -> list[str]:
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


def json_values(column: pa.Array) -> list[object]:
    """Each value as JSON can hold it.

    Times, decimals and identifiers are text, since a time may count nanoseconds and lie beyond the year 9999, which
    Python's own do not. A map is a list of pairs. Bytes in a column of text that are no UTF-8 become U+FFFD.
    """
    kind = column.type
    for applies, convert in _CONVERTERS:
        if applies(kind):
            return convert(column)
    return list(column.to_pylist())


def csv_texts(column: pa.Array) -> list[str | None]:
    """Each value as a field: text as it stands, nested values as JSON, bytes as base64, a null as None."""
    kind = column.type
    if types.is_dictionary(kind):
        return _taken(csv_texts(column.dictionary), column.indices)
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        texts: list[str | None] = column.cast(pa.string()).to_pylist()
        return texts
    return [None if value is None else _field(value) for value in json_values(column)]


def list_bounds(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Where each list begins and ends in `column.values`, or a map in its keys and items; None for other types."""
    kind = column.type
    if types.is_fixed_size_list(kind):
        begins = (np.arange(len(column), dtype=np.int64) + column.offset) * kind.list_size
        return begins, begins + kind.list_size
    if not _is_list(kind):
        return None
    offsets = np.asarray(column.offsets, dtype=np.int64)
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        return offsets, offsets + np.asarray(column.sizes, dtype=np.int64)
    return offsets[:-1], offsets[1:]


def _field(value: object) -> str:
    if isinstance(value, str):
        return value
    return b64encode(value).decode() if isinstance(value, bytes) else encode_json(value).decode()


def _taken(values: list[Any], indices: pa.Array) -> list[Any]:
    return [None if index is None else values[index] for index in indices.to_pylist()]


def _dictionary(column: pa.Array) -> list[object]:
    return _taken(json_values(column.dictionary), column.indices)


def _extension(column: pa.Array) -> list[object]:
    if isinstance(column.type, pa.UuidType):
        return [None if value is None else str(UUID(bytes=value)) for value in column.storage.to_pylist()]
    if isinstance(column.type, pa.Bool8Type):
        return [None if value is None else bool(value) for value in column.storage.to_pylist()]
    return json_values(column.storage)


def _struct(column: pa.Array) -> list[object]:
    names = unique_names(field.name for field in column.type)
    members = [json_values(child) for child in column.flatten()]
    rows = zip(*members, strict=True) if members else [()] * len(column)
    return [
        dict(zip(names, row, strict=True)) if valid else None
        for row, valid in zip(rows, column.is_valid().to_pylist(), strict=True)
    ]


def _list(column: pa.Array) -> list[object]:
    bounds = list_bounds(column)
    assert bounds is not None
    begins, ends = bounds
    first, last = (int(begins.min()), int(ends.max())) if len(begins) else (0, 0)
    if types.is_map(column.type):
        keys, items = (json_values(half.slice(first, last - first)) for half in (column.keys, column.items))
        values: list[object] = [list(pair) for pair in zip(keys, items, strict=True)]
    else:
        values = json_values(column.values.slice(first, last - first))
    places = zip((begins - first).tolist(), (ends - first).tolist(), column.is_valid().to_pylist(), strict=True)
    return [values[begin:end] if valid else None for begin, end, valid in places]


def _time(column: pa.Array) -> list[object]:
    try:
        texts = column.cast(pa.string()).to_pylist()
    except pa.ArrowInvalid:  # a time zone that is not known here
        universal = column.view(pa.int64()).view(pa.timestamp(column.type.unit)).cast(pa.string())
        texts = [None if text is None else f"{text}Z" for text in universal.to_pylist()]
    return [None if text is None else text.removeprefix(_OUT_OF_RANGE).rstrip(">") for text in texts]


def _decimal(column: pa.Array) -> list[object]:
    return list(column.cast(pa.string()).to_pylist())


def _short_float(column: pa.Array) -> list[object]:
    """As short as it reads back in its own width."""
    return [None if text is None else float(text) for text in column.cast(pa.string()).to_pylist()]


def _text(column: pa.Array) -> list[object]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        found = column.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "replace") for value in found]


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_map(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


_CONVERTERS: Final[tuple[tuple[Callable[[Any], bool], Callable[[Any], list[object]]], ...]] = (
    (lambda kind: isinstance(kind, pa.BaseExtensionType), _extension),
    (types.is_dictionary, _dictionary),
    (types.is_struct, _struct),
    (_is_list, _list),
    (lambda kind: types.is_temporal(kind) and not types.is_interval(kind), _time),
    (types.is_decimal, _decimal),
    (lambda kind: types.is_float16(kind) or types.is_float32(kind), _short_float),
    (_is_text, _text),
)
