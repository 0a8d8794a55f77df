"""Formats of lines: every row that goes in comes out or is rejected, and the summary's lines are the file's."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import onnxpress
from onnxpress.scoring.source import Source
from tests.scoring.conftest import run_score
from tests.scoring.test_formats import csv_rows

QUOTES = ['"Good," she wrote', "5'9\" tall", '"quoted"', '"open only', "plain", 'end"', "x, y", ""]


def rejected(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(f"{output}.rejected.jsonl").read_bytes().splitlines()]


@pytest.mark.parametrize("end", ["tsv", "csv", "jsonl", "tsv.gz"])
def test_what_stands_between_tabs_is_the_value(artifact: Path, tmp_path: Path, end: str) -> None:
    lines = ["id\ttext", *(f"{number}\t{text}" for number, text in enumerate(QUOTES))]
    (tmp_path / "in.tsv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    summary = onnxpress.score(artifact, tmp_path / "in.tsv", tmp_path / f"out.{end}")
    assert (summary.rows, summary.scored, summary.lines) == (8, 8, 8)
    content = (tmp_path / f"out.{end}").read_bytes()
    if end == "csv":
        found = [row[1] for row in csv_rows(tmp_path / "out.csv")[1:]]
    elif end == "jsonl":
        found = [json.loads(line)["text"] for line in content.splitlines()]
    else:
        text = (gzip.decompress(content) if end.endswith("gz") else content).decode()
        assert text.startswith("id\ttext\tlabel\tscore\n")
        found = [line.split("\t")[1] for line in text.splitlines()[1:]]
    assert found == QUOTES


def test_a_row_of_tsv_with_too_many_fields_is_rejected_as_it_stands(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_text('id\ttext\n1\tgood\n2\t"a\tb"\n3\n4\tbad\n')
    summary = onnxpress.score(artifact, tmp_path / "in.tsv", tmp_path / "out.tsv", on_bad_row="skip")
    assert (summary.rows, summary.scored, summary.lines) == (4, 2, 4)
    assert [row["raw"] for row in rejected(tmp_path / "out.tsv")] == ['2\t"a\tb"', "3"]


def test_what_tsv_cannot_hold_is_rejected_or_quoted(artifact: Path, tmp_path: Path) -> None:
    values = ["a\tb", "c\nd", "e\rf", "fine", None]
    lines = [json.dumps({"text": "good", "x": value, "deep": ["\t"]}) for value in values]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    with pytest.raises(onnxpress.BadRowError, match="row 1 has a tab or a line break in 'x', for which TSV needs"):
        onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.tsv")
    summary = onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.tsv", on_bad_row="null")
    assert (summary.rows, summary.scored) == (5, 2)
    assert [row["values"]["x"] for row in rejected(tmp_path / "out.tsv")] == values[:3]
    assert [line.split("\t")[1] for line in (tmp_path / "out.tsv").read_text().splitlines()] == [
        "x", "", "", "", "fine", ""
    ]  # fmt: skip
    summary = onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "quoted.tsv", quoted_tsv=True)
    assert summary.scored == 5
    assert [row[1] for row in csv_rows(tmp_path / "quoted.tsv", "\t")[1:]] == [value or "" for value in values]
    again = onnxpress.score(artifact, tmp_path / "quoted.tsv", tmp_path / "again.jsonl", quoted_tsv=True)
    assert (again.rows, again.lines) == (5, 6), "a carriage return alone ends no line"
    (tmp_path / "tab.csv").write_text('"a\tb",text\n1,good\n')
    with pytest.raises(onnxpress.ConfigError, match=r"has a tab or a line break in its name"):
        onnxpress.score(artifact, tmp_path / "tab.csv", tmp_path / "o.tsv")
    with pytest.raises(onnxpress.ConfigError, match=r"--quoted-tsv .* is for TSV"):
        onnxpress.score(artifact, tmp_path / "tab.csv", tmp_path / "o.csv", quoted_tsv=True)


def test_a_quote_that_is_never_closed_costs_its_own_line_alone(artifact: Path, tmp_path: Path) -> None:
    lines = [f"{number},good" for number in range(2_000)]
    lines[8] = '8,"open'
    lines[1_000] = '1000,"a, b"'
    lines[1_500] = '1500,"never closed'
    (tmp_path / "in.csv").write_text("\n".join(["id,text", *lines]))
    summary = onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / "out.csv", on_bad_row="skip")
    assert (summary.rows, summary.scored, summary.lines) == (2_000, 1_998, 2_000)
    found = rejected(tmp_path / "out.csv")
    assert [(row["row"], row["raw"]) for row in found] == [(9, '8,"open'), (1_501, '1500,"never closed')]
    assert "of the 500 lines that it would span the others are rows" in found[1]["reason"]


def test_fields_over_several_lines_are_told(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('id,text\n1,"two\nlines"\n2,"three\n\nlines"\n\n3,"a\nb",c\n4,bad\n')
    done = run_score(artifact, tmp_path / "in.csv", tmp_path / "out.csv", "--on-bad-row", "skip")
    told = done.stderr.decode()
    assert done.returncode == 0 and "4 rows in" in told and "7 lines were read for them" in told
    (row,) = rejected(tmp_path / "out.csv")
    assert row["raw"] == '3,"a\nb",c' and "has 3 fields over 2 lines, the header has 2" in row["reason"]


@pytest.mark.parametrize("end", ["csv", "tsv"])
def test_blank_lines_of_one_column_are_rows(artifact: Path, tmp_path: Path, end: str) -> None:
    (tmp_path / f"in.{end}").write_text("text\ngood\n\nbad\n\n")
    summary = onnxpress.score(artifact, tmp_path / f"in.{end}", tmp_path / "out.jsonl")
    texts = [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert texts == ["good", "", "bad", ""] and (summary.rows, summary.lines) == (4, 4)


@pytest.mark.parametrize("end", ["txt", "txt.gz"])
def test_plain_text_is_a_text_a_line(artifact: Path, tmp_path: Path, end: str) -> None:
    content = b'\xef\xbb\xbfgood "film"\r\n\n  bad, very\ncaf\xff\nlast\tone'
    (tmp_path / f"in.{end}").write_bytes(gzip.compress(content) if end.endswith("gz") else content)
    summary = onnxpress.score(artifact, tmp_path / f"in.{end}", tmp_path / "out.jsonl", on_bad_row="null")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [row["text"] for row in found] == ['good "film"', "", "  bad, very", "caf\ufffd", "last\tone"]
    assert (summary.rows, summary.scored, summary.lines) == (5, 4, 5)
    onnxpress.score(artifact, tmp_path / f"in.{end}", f"{tmp_path}/parts/", text_column="line", on_bad_row="skip")
    (part,) = (tmp_path / "parts").iterdir()
    assert part.name == "part-000000.jsonl" and part.read_bytes().startswith(b'{"line":"good')


def test_plain_text_is_told_by_an_option_and_is_no_output(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "reviews").write_text("good\nbad\n")
    done = run_score(artifact, "-", tmp_path / "out.csv", "--input-format", "txt", stdin=b"good\nbad\n")
    assert done.returncode == 0 and len(csv_rows(tmp_path / "out.csv")) == 3
    with pytest.raises(onnxpress.ConfigError, match=r"out\.txt: a text file has no columns for the answers"):
        onnxpress.score(artifact, tmp_path / "reviews", tmp_path / "out.txt", input_format="txt")
    with pytest.raises(onnxpress.ConfigError, match="output_format must be csv or tsv or jsonl or parquet, got 'txt'"):
        onnxpress.score(artifact, tmp_path / "reviews", tmp_path / "o", input_format="txt", output_format="txt")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["in.csv", "in.txt", "in.jsonl"])
def test_utf_16_is_told(artifact: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("text\ngood\n", encoding="utf-16")
    with pytest.raises(onnxpress.ConfigError, match=r"is UTF-16\. Convert it, for example with iconv"):
        onnxpress.score(artifact, tmp_path / name, tmp_path / "out.parquet")


def test_compression_is_told_by_the_name_and_the_format_by_the_option(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.gz").write_bytes(gzip.compress(b"text\ngood\n"))
    onnxpress.score(artifact, tmp_path / "in.gz", tmp_path / "out.gz", input_format="csv", output_format="jsonl")
    assert json.loads(gzip.decompress((tmp_path / "out.gz").read_bytes()))["text"] == "good"


def test_rows_that_were_lost_are_told(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.csv").write_text("text\ngood\nbad\n")
    monkeypatch.setattr(Source, "count", lambda source, index: 3)
    with pytest.raises(onnxpress.JobError, match="of the 3 lines of the input 2 were read"):
        onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
