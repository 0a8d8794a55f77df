"""Every type of Arrow as JSON and as a field, at any depth, without pandas."""

from __future__ import annotations

import json
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from onnxpress.scoring.sizes import row_sizes
from onnxpress.scoring.values import csv_texts, encode_json, json_values, unique_names

NS = pa.timestamp("ns")
FIRST = "1970-01-01 00:00:00.000000001"
IDS = [uuid.UUID(int=5), uuid.UUID(int=6)]


def not_utf8(*values: bytes | None) -> pa.Array:
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())


COLUMNS: dict[str, tuple[pa.Array, list[Any], str]] = {
    # name: the column, its values as JSON, and the first of them as a field
    "bool": (pa.array([True, None, False]), [True, None, False], "true"),
    "uint64": (pa.array([2**64 - 1, None, 0], pa.uint64()), [2**64 - 1, None, 0], str(2**64 - 1)),
    "half": (pa.array(np.array([1, 0.5, np.nan], dtype=np.float16)), [1.0, 0.5, None], "1"),
    "float": (pa.array([0.1, None, float("-inf")], pa.float32()), [0.1, None, None], "0.1"),
    "date": (pa.array([10_000_000, None, 1], pa.date32()), ["29349-01-26", None, "1970-01-02"], "29349-01-26"),
    "timestamp[s]": (pa.array([1, None, 2**60], pa.timestamp("s")), ["1970-01-01 00:00:01", None, str(2**60)], ""),
    "timestamp[us]": (pa.array([1, None, 2**56], pa.timestamp("us")), ["1970-01-01 00:00:00.000001", None, ...], ""),
    "timestamp[ns]": (pa.array([1, None, 2], NS), [FIRST, None, FIRST[:-1] + "2"], FIRST),
    "zone": (
        pa.array([0, None, 1], pa.timestamp("ms", "+02:00")),
        ["1970-01-01 02:00:00.000+0200", None, "1970-01-01 02:00:00.001+0200"],
        "",
    ),
    "no such zone": (
        pa.array([0, None, 1], pa.timestamp("ms", "Nowhere/At")),
        ["1970-01-01 00:00:00.000Z", None, "1970-01-01 00:00:00.001Z"],
        "",
    ),
    "time[ns]": (pa.array([1, None, 2], pa.time64("ns")), ["00:00:00.000000001", None, "00:00:00.000000002"], ""),
    "duration": (pa.array([1, None, 2], pa.duration("us")), ["1", None, "2"], "1"),
    "decimal32": (pa.array([Decimal("1.50"), None, Decimal(0)], pa.decimal32(5, 2)), ["1.50", None, "0.00"], "1.50"),
    "decimal256": (pa.array([Decimal("1.50"), None, Decimal(0)], pa.decimal256(50, 2)), ["1.50", None, "0.00"], "1.50"),
    "text view": (pa.array(["a", None, "b" * 20], pa.string_view()), ["a", None, "b" * 20], "a"),
    "no text": (not_utf8(b"caf\xff", None, b""), ["caf\ufffd", None, ""], "caf\ufffd"),
    "bytes": (pa.array([b"abc", None, b"\xff"]), ["YWJj", None, "/w=="], "YWJj"),
    "large bytes": (pa.array([b"abc", None, b""], pa.large_binary()), ["YWJj", None, ""], "YWJj"),
    "three bytes": (pa.array([b"abc", None, b"def"], pa.binary(3)), ["YWJj", None, "ZGVm"], "YWJj"),
    "view of bytes": (pa.array([b"abc", None, b""], pa.binary_view()), ["YWJj", None, ""], "YWJj"),
    "list": (pa.array([[1, None], None, []], pa.list_(NS)), [[FIRST, None], None, []], f'["{FIRST}",null]'),
    "large list": (pa.array([[1], None, []], pa.large_list(NS)), [[FIRST], None, []], f'["{FIRST}"]'),
    "fixed list": (pa.array([[1, None], None, [1, 1]], pa.list_(NS, 2)), [[FIRST, None], None, [FIRST] * 2], ""),
    "list view": (pa.array([[1], None, []], pa.list_view(NS)), [[FIRST], None, []], ""),
    "map": (pa.array([[("k", 1)], None, []], pa.map_(pa.string(), NS)), [[["k", FIRST]], None, []], ""),
    "struct": (
        pa.array([{"t": 1, "b": b"abc"}, None, {"t": None, "b": None}], pa.struct([("t", NS), ("b", pa.binary())])),
        [{"t": FIRST, "b": "YWJj"}, None, {"t": None, "b": None}],
        "",
    ),
    "struct, no text": (
        pa.StructArray.from_arrays([not_utf8(b"\xff", None, b"x")], names=["a"]),
        [{"a": "\ufffd"}, {"a": None}, {"a": "x"}],
        "",
    ),
    "struct, one name": (
        pa.StructArray.from_arrays([pa.array([1, 2, 3]), pa.array([4, 5, 6])], names=["a", "a"]),
        [{"a": 1, "a_1": 4}, {"a": 2, "a_1": 5}, {"a": 3, "a_1": 6}],
        "",
    ),
    "dictionary": (pa.array(["p", None, "q"]).dictionary_encode(), ["p", None, "q"], "p"),
    "dictionary of bytes": (pa.array([b"abc", None, b""]).dictionary_encode(), ["YWJj", None, ""], "YWJj"),
    "uuid": (
        pa.array([IDS[0].bytes, None, IDS[1].bytes], pa.uuid()),
        [str(IDS[0]), None, str(IDS[1])],
        str(IDS[0]),
    ),
    "list of uuid": (
        pa.ListArray.from_arrays([0, 1, 2, 2], pa.array([i.bytes for i in IDS], pa.uuid())),
        [[str(IDS[0])], [str(IDS[1])], []],
        "",
    ),
    "json": (pa.array(['{"a":1}', None, "2"], pa.json_()), ['{"a":1}', None, "2"], '{"a":1}'),
    "bool8": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None, 0], pa.int8())), [True, None, False], ""),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_each_type_is_json_and_a_field(name: str) -> None:
    column, wanted, field = COLUMNS[name]
    found = [json.loads(encode_json(value)) for value in json_values(column)]
    assert [value for value, right in zip(found, wanted, strict=True) if right is not ...] == [
        right for right in wanted if right is not ...
    ]
    assert not field or csv_texts(column)[0] == field
    texts = csv_texts(column)
    assert [text is None for text in texts] == [not valid for valid in column.is_valid().to_pylist()]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_slice_has_the_values_and_the_sizes_of_its_rows(name: str) -> None:
    column = pa.concat_arrays([COLUMNS[name][0]] * 3)
    values, sizes = [encode_json(v) for v in json_values(column)], row_sizes(pa.record_batch([column], ["x"]))
    for start in range(8):
        part = column.slice(start, 2)
        assert [encode_json(value) for value in json_values(part)] == values[start : start + 2]
        assert row_sizes(pa.record_batch([part], ["x"])).tolist() == sizes[start : start + 2].tolist()


def test_sizes_are_those_of_the_values_not_of_the_dictionary() -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0, 0, None]), ["x" * 1_000])
    nested = pa.array([["a" * 10, "b"], [], None])
    batch = pa.record_batch([text, nested], ["text", "nested"])
    assert row_sizes(batch).tolist() == [1_000 + 11 + 8, 1_000 + 8, 8]


def test_names_that_are_taken_get_the_first_free_suffix() -> None:
    assert unique_names(["a", "a", "a_1", "a"]) == ["a", "a_2", "a_1", "a_3"]


def test_types_that_parquet_reads_back_are_all_here(tmp_path: Any) -> None:
    """What Parquet cannot write, no input holds."""
    for name, (column, _, _) in COLUMNS.items():
        if name == "timestamp[s]":  # Parquet has no seconds, and in milliseconds the largest does not fit
            continue
        parquet.write_table(pa.table({"x": column}), tmp_path / "x.parquet")
        (found,) = parquet.read_table(tmp_path / "x.parquet").column("x").chunks
        assert [encode_json(v) for v in json_values(found)] == [encode_json(v) for v in json_values(column)], name
