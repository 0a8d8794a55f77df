"""Rows that cannot be scored: told, left empty or out, and kept aside with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

import onnxpress
from tests.scoring.conftest import ROWS, make_table

BAD = [
    b'{"text": "good", "n": 1}',
    b'{"text": null, "n": 2}',
    b'{"n": 3}',
    b'{"text": 7, "n": 4}',
    b'{"text": "caf\xff", "n": 5}',
    b"[1]",
    b'{"text": "' + b"x" * 300 + b'"}',
    b'{"text": "bad"',
    b'{"text": "bad", "n": 9}',
]


@pytest.mark.parametrize("choice", ["null", "skip"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_bad_rows_are_kept_aside_with_the_reason(artifact: Path, tmp_path: Path, choice: str, suffix: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(BAD))
    output = tmp_path / f"out.{suffix}"
    summary = onnxpress.score(artifact, tmp_path / "in.jsonl", output, on_bad_row=choice, max_characters=100)  # type: ignore[arg-type]
    assert (summary.rows, summary.scored, summary.rejected) == (9, 2, 7)
    assert summary.rejected_file == f"{output}.rejected.jsonl"
    rejected = [json.loads(line) for line in Path(summary.rejected_file).read_bytes().splitlines()]
    assert [row["row"] for row in rejected] == [2, 3, 4, 5, 6, 7, 8]
    reasons = [row["reason"] for row in rejected]
    for part, reason in zip(
        (
            "null in column 'text'",
            "has no 'text'",
            "of type int",
            "is not JSON",
            "list, not an object",
            "has 300 characters; the limit is 100",
            "is not JSON",
        ),
        reasons,
        strict=True,
    ):
        assert part in reason
    assert rejected[0]["values"]["n"] == 2 and rejected[4]["raw"] == "[1]"
    if suffix == "jsonl":
        found = [json.loads(line) for line in output.read_bytes().splitlines()]
    elif suffix == "parquet":
        found = parquet.read_table(output).to_pylist()
    else:
        return
    answered = [row for row in found if row["label"] is not None]
    assert len(answered) == 2 and answered[-1]["n"] == 9
    assert len(found) == (2 if choice == "skip" else 9)


def test_bad_csv_rows(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b'n,text\n1,good\n2,caf\xe9\n3\n4,"a"b"\n\n5,fine,6\n7,good\n8,"never closed\n')
    with pytest.raises(onnxpress.BadRowError, match=r"in\.csv: row 2 is not UTF-8\. Repair it") as caught:
        onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / "out.csv")
    assert (caught.value.row, caught.value.reason) == (2, "is not UTF-8")
    summary = onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / "out.csv", on_bad_row="null")
    assert (summary.rows, summary.scored) == (7, 2)
    assert (tmp_path / "out.csv").read_text().splitlines()[2:5] == ["2,caf\ufffd,,", ",,,", ",,,"]
    rejected = [json.loads(line) for line in (tmp_path / "out.csv.rejected.jsonl").read_bytes().splitlines()]
    assert [row["row"] for row in rejected] == [2, 3, 4, 5, 7]
    assert "has 1 fields, the header has 2" in rejected[1]["reason"] and rejected[1]["raw"] == "3"
    assert "has 3 fields" in rejected[3]["reason"] and "cannot be read" in rejected[4]["reason"]
    assert "never closed" in rejected[4]["raw"]


def test_bad_parquet_rows(artifact: Path, tmp_path: Path) -> None:
    raw = pa.array([b"good", None, b"caf\xff", b"bad"])
    text = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    for name, column in (("bytes", raw), ("text", text)):
        parquet.write_table(pa.table({"text": column}), tmp_path / f"{name}.parquet")
        summary = onnxpress.score(artifact, tmp_path / f"{name}.parquet", tmp_path / f"{name}.jsonl", on_bad_row="skip")
        assert (summary.rows, summary.scored) == (4, 2)
        rejected = [json.loads(x) for x in (tmp_path / f"{name}.jsonl.rejected.jsonl").read_bytes().splitlines()]
        assert [row["reason"] for row in rejected] == ["holds null in column 'text'", "is not UTF-8 in column 'text'"]


def test_a_bad_row_far_inside_can_be_let_pass_without_beginning_again(artifact: Path, tmp_path: Path) -> None:
    texts: list[str | None] = make_table(ROWS).column("text").to_pylist()
    texts[15_000] = None
    parquet.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    with pytest.raises(onnxpress.BadRowError, match="row 15,001 holds null"):
        onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / "out.csv")
    summary = onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / "out.csv", on_bad_row="skip")
    assert (summary.resumed, summary.rejected) == (8_192, 1)
    assert (tmp_path / "out.csv").read_bytes().count(b"\n") == ROWS
