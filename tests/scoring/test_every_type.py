"""Columns of every type are carried from Parquet to every format; shards whose types differ are one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import onnxpress
from onnxpress.scoring.values import csv_texts, encode_json, json_values
from tests.scoring.test_formats import csv_rows
from tests.scoring.test_values import COLUMNS

CARRIED = {name: column for name, (column, _, _) in COLUMNS.items() if name != "timestamp[s]"}


def write_all(path: Path) -> pa.Table:
    table = pa.table({"text": ["good", None, "bad"], **CARRIED})
    parquet.write_table(table, path)
    return parquet.read_table(path)


@pytest.mark.parametrize("choice", ["null", "skip"])
@pytest.mark.parametrize("end", ["csv", "tsv", "jsonl", "parquet"])
def test_every_type_is_carried(artifact: Path, tmp_path: Path, end: str, choice: str) -> None:
    table = write_all(tmp_path / "in.parquet")
    output = tmp_path / f"out.{end}"
    summary = onnxpress.score(artifact, tmp_path / "in.parquet", output, on_bad_row=choice)  # type: ignore[arg-type]
    assert (summary.rows, summary.scored) == (3, 2)
    kept = [0, 2] if choice == "skip" else [0, 1, 2]
    if end == "parquet":
        found = parquet.read_table(output)
        assert found.schema.types[: table.num_columns] == table.schema.types
        for name in table.column_names:
            values = [encode_json(v) for v in json_values(table.column(name).combine_chunks())]
            assert [encode_json(v) for v in json_values(found.column(name).combine_chunks())] == [
                values[row] for row in kept
            ]
    elif end == "jsonl":
        rows = [json.loads(line) for line in output.read_bytes().splitlines()]
        for name in table.column_names:
            values: list[Any] = [json.loads(encode_json(v)) for v in json_values(table.column(name).combine_chunks())]
            assert [row[name] for row in rows] == [values[row] for row in kept]
    else:
        texts = [csv_texts(table.column(name).combine_chunks()) for name in table.column_names]
        lines = output.read_text().split("\n")[1:-1] if end == "tsv" else csv_rows(output)[1:]
        rows_found = [line.split("\t") if isinstance(line, str) else line for line in lines]
        assert [row[: len(texts)] for row in rows_found] == [[column[row] or "" for column in texts] for row in kept]


SHARDS: list[tuple[list[pa.Array], pa.DataType]] = [
    ([pa.nulls(1), pa.array(["a"])], pa.string()),
    ([pa.array(["a"]), pa.array(["b"], pa.large_string()), pa.nulls(1)], pa.large_string()),
    ([pa.array([1], pa.int8()), pa.array([2**40]), pa.nulls(1, pa.int32())], pa.int64()),
    ([pa.array([1]), pa.array([0.5])], pa.float64()),
    ([pa.array(["a"]).dictionary_encode(), pa.array(["b"])], pa.string()),
    ([pa.nulls(1), pa.array([[1]])], pa.list_(pa.int64())),
    ([pa.array([{"a": 1}]), pa.array([{"a": None}], pa.struct([("a", pa.null())]))], pa.struct([("a", pa.int64())])),
]


@pytest.mark.parametrize("shards", SHARDS, ids=[str(kind) for _, kind in SHARDS])
@pytest.mark.parametrize("turned", [False, True])
def test_shards_of_types_that_one_type_holds_are_one_table(
    artifact: Path, tmp_path: Path, shards: tuple[list[pa.Array], pa.DataType], turned: bool
) -> None:
    columns, kind = shards
    columns = columns[::-1] if turned else columns
    for index, column in enumerate(columns):
        parquet.write_table(pa.table({"text": ["good"], "x": column}), tmp_path / f"{index}.parquet")
    onnxpress.score(artifact, f"{tmp_path}/[0-9].parquet", tmp_path / "out.parquet")
    found = parquet.read_table(tmp_path / "out.parquet")
    assert found.schema.field("x").type == kind
    assert found.column("x").to_pylist() == [value for column in columns for value in column.to_pylist()]


def test_the_text_column_may_be_of_several_text_types(artifact: Path, tmp_path: Path) -> None:
    for index, kind in enumerate((pa.null(), pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()))):
        values = pa.nulls(1) if pa.types.is_null(kind) else pa.array(["good"]).cast(kind)
        parquet.write_table(pa.table({"text": values}), tmp_path / f"{index}.parquet")
    summary = onnxpress.score(artifact, f"{tmp_path}/[0-9].parquet", tmp_path / "out.csv", on_bad_row="null")
    assert (summary.rows, summary.scored) == (4, 3)


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        (pa.array([1]), pa.array(["a"]), r"1\.parquet: its columns are not those of .*0\.parquet \('x' holds string"),
        (pa.array([b"a"]), pa.array(["a"]), "'x' holds string, not binary"),
        (pa.array([2**60 + 1]), pa.array([0.5]), r"0\.parquet: rows 1 to 1: column 'x' has a value that does not fit"),
    ],
)
def test_shards_that_no_type_holds_are_refused(
    artifact: Path, tmp_path: Path, one: pa.Array, other: pa.Array, says: str
) -> None:
    for index, column in enumerate((one, other)):
        parquet.write_table(pa.table({"text": ["good"], "x": column}), tmp_path / f"{index}.parquet")
    with pytest.raises(onnxpress.ConfigError, match=says):
        onnxpress.score(artifact, f"{tmp_path}/[0-9].parquet", tmp_path / "out.csv")


@pytest.mark.parametrize("end", ["csv", "jsonl", "parquet"])
def test_objects_without_members_and_numbers_that_are_not_finite(artifact: Path, tmp_path: Path, end: str) -> None:
    lines = [
        '{"text": "good", "a": {"b": {}}, "c": [{}], "n": NaN, "m": {"x": Infinity}}',
        '{"text": "bad", "a": {"b": {}}, "c": [], "n": -Infinity, "m": null}',
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    summary = onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / f"out.{end}")
    assert (summary.rows, summary.scored, summary.lines) == (2, 2, 2)
    if end == "jsonl":
        found = (tmp_path / "out.jsonl").read_text().splitlines()
        assert all(row.startswith(line[:-1]) for row, line in zip(found, lines, strict=True))
    elif end == "parquet":
        table = parquet.read_table(tmp_path / "out.parquet")
        assert table.column("a").to_pylist() == ['{"b":{}}'] * 2 and table.column("c").to_pylist() == ["[{}]", "[]"]
        assert table.column("m").to_pylist() == [{"x": float("inf")}, None]
        assert table.column("n").to_pylist()[1] == float("-inf")


def test_whole_scores_are_floats_in_jsonl(artifact: Path, tmp_path: Path) -> None:
    from onnxpress.scoring.sink import open_sink

    with (
        (tmp_path / "out.jsonl").open("wb") as file,
        open_sink(
            file, "jsonl", None, None, [pa.field("score", pa.float32())], header=False, quoted_tsv=False
        ) as write,
    ):
        write([b"{}"] * 4, [pa.array([1.0, 0.1, 0.0, None], pa.float32())])
    assert (tmp_path / "out.jsonl").read_text().splitlines() == [
        '{"score":1.0}',
        '{"score":0.1}',
        '{"score":0.0}',
        '{"score":null}',
    ]


def test_no_key_stands_twice_in_an_object(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("score,text,score,label,label\n1,good,2,3,4\n")
    summary = onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / "out.jsonl")
    keys = [key for key, _ in json.loads((tmp_path / "out.jsonl").read_text(), object_pairs_hook=list)]
    assert keys == ["score", "text", "score_1", "label", "label_1", "label_2", "score_2"]
    assert summary.columns == {"label": "label_2", "score": "score_2"}


def test_logits_are_columns(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,logit_negative\ngood film,x\nbad,y\n")
    onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / "out.parquet", columns=["label", "logits"])
    found = parquet.read_table(tmp_path / "out.parquet")
    assert found.column_names[2:] == ["label", "logit_negative_1", "logit_positive"]
    with onnxpress.load(artifact) as classifier:
        wanted = classifier.logits(["good film", "bad"])
    for index, name in enumerate(("logit_negative_1", "logit_positive")):
        assert found.column(name).to_pylist() == pytest.approx(wanted[:, index].tolist(), abs=1e-5)


@pytest.mark.parametrize("end", ["csv", "jsonl", "parquet"])
def test_dictionaries_inside_lists_differ_from_row_group_to_row_group(artifact: Path, tmp_path: Path, end: str) -> None:
    wanted = [["a", "b"], ["b"], None, ["c", "a"], ["d"], ["e", "d"], [], ["f"]]
    element = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema(
        {"text": pa.string(), "tags": pa.list_(element), "nested": pa.struct({"tags": pa.list_(element)})}
    )
    with parquet.ParquetWriter(tmp_path / "in.parquet", schema) as writer:
        for start in range(0, len(wanted), 4):
            part = wanted[start : start + 4]
            bounds = np.cumsum([0, *(len(tags or []) for tags in part)])
            words = pa.array([tag for tags in part for tag in tags or []]).dictionary_encode()
            missing = pa.array([tags is None for tags in part])
            tags = pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), words, mask=missing)
            texts = pa.array([f"good {start + row}" for row in range(len(part))])
            writer.write_table(pa.table([texts, tags, pa.StructArray.from_arrays([tags], ["tags"])], schema), 2)
    output = tmp_path / f"out.{end}"
    assert onnxpress.score(artifact, tmp_path / "in.parquet", output).scored == len(wanted)
    if end == "parquet":
        table = parquet.read_table(output)
        assert table.schema.field("tags").type == pa.list_(element)
        found = [(row["tags"], row["nested"]["tags"]) for row in table.to_pylist()]
    elif end == "jsonl":
        rows = [json.loads(line) for line in output.read_bytes().splitlines()]
        found = [(row["tags"], row["nested"]["tags"]) for row in rows]
    else:
        cells = [(row[1], json.loads(row[2])["tags"]) for row in csv_rows(output)[1:]]
        found = [(json.loads(tags) if tags else None, nested) for tags, nested in cells]
    assert found == [(tags, tags) for tags in wanted]
