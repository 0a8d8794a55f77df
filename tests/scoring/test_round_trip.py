"""For any texts, in any format, to any format: every row that goes in comes out, or is rejected with the reason."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

import onnxpress

CHARACTERS = st.characters(codec="utf-8", exclude_categories=("Cs",))
TEXT = st.text(st.one_of(st.sampled_from("\t\r\n\"',\\ \ufeff\x00\x85\u2028"), CHARACTERS), max_size=8)
ROWS = st.lists(st.fixed_dictionaries({"text": st.one_of(st.none(), TEXT), "more": TEXT}), min_size=1, max_size=8)
INPUTS = ("csv", "tsv", "quoted.tsv", "jsonl", "parquet", "txt", "table.jsonl")
OUTPUTS = ("csv", "tsv", "quoted.tsv", "jsonl", "parquet")


def is_plain(value: str | None) -> bool:
    return value is None or not any(character in value for character in "\t\r\n")


def write(path: Path, kind: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write what of `rows` the format can hold; give what it holds."""
    if kind == "txt":
        rows = [row for row in rows if is_plain(row["text"]) and row["text"] and row["text"][0] != "\ufeff"]
        path.write_bytes("".join(f"{row['text']}\n" for row in rows).encode())
        return [{"text": row["text"]} for row in rows]
    if kind in ("csv", "quoted.tsv"):
        file = io.StringIO(newline="")
        writer = csv.writer(file, delimiter="," if kind == "csv" else "\t", lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerows([["text", "more"], *([row["text"] or "", row["more"]] for row in rows)])
        path.write_bytes(file.getvalue().encode())
        return [row | {"text": row["text"] or ""} for row in rows]
    if kind == "tsv":
        rows = [row for row in rows if is_plain(row["text"]) and is_plain(row["more"])]
        path.write_bytes(("text\tmore\n" + "".join(f"{r['text'] or ''}\t{r['more']}\n" for r in rows)).encode())
        return [row | {"text": row["text"] or ""} for row in rows]
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows, pa.schema([("text", pa.string()), ("more", pa.string())])), path)
    else:
        path.write_bytes("".join(json.dumps(row) + "\n" for row in rows).encode())
    return rows


def read(path: Path, kind: str) -> list[dict[str, Any]]:
    if kind == "parquet":
        return list(parquet.read_table(path).to_pylist())
    content = path.read_bytes().decode()
    if kind == "jsonl":
        return [json.loads(line) for line in content.split("\n")[:-1]]
    if kind == "tsv":
        header, *lines = (line.split("\t") for line in content.split("\n")[:-1])
    else:
        header, *lines = csv.reader(io.StringIO(content, newline=""), delimiter="," if kind == "csv" else "\t")
    return [dict(zip(header, line, strict=True)) for line in lines]


@pytest.mark.parametrize("choice", ["null", "skip"])
@given(rows=ROWS, source=st.sampled_from(INPUTS), target=st.sampled_from(OUTPUTS))
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_row_comes_out_or_is_rejected(
    artifact: Path, choice: str, rows: list[dict[str, Any]], source: str, target: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / f"in.{source}", Path(folder) / f"out.{target}"
        held = write(path, source, rows)
        quoted = "quoted.tsv" in (source, target)
        if quoted and "tsv" in (source, target):
            return  # one job quotes both, or neither
        summary = onnxpress.score(
            artifact, path, output, on_bad_row=choice, quoted_tsv=quoted  # type: ignore[arg-type]
        )  # fmt: skip
        rejects = Path(f"{output}.rejected.jsonl")
        rejected = [json.loads(line) for line in rejects.read_bytes().splitlines()] if rejects.exists() else []
        bad = {row["row"] - 1 for row in rejected}
        assert (summary.rows, summary.rejected) == (len(held), len(bad))
        assert bad == {
            index
            for index, row in enumerate(held)
            if row["text"] is None or (target == "tsv" and not all(map(is_plain, row.values())))
        }
        assert [row["values"] for row in rejected] == [held[index] for index in sorted(bad)]
        found = read(output, target)
        kept = [index for index in range(len(held)) if choice == "null" or index not in bad]
        assert len(found) == len(kept)
        for index, row in zip(kept, found, strict=True):
            wanted = {
                name: (value or "") if target not in ("jsonl", "parquet") else value
                for name, value in held[index].items()
                if target != "tsv" or is_plain(value)
            }
            assert {name: row[name] for name in wanted} == wanted
            assert (row["label"] in (None, "")) == (index in bad)
