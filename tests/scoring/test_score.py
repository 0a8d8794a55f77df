"""Files scored to files: formats, types, bad rows, names, and what cannot be."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import onnxpress
from onnxpress.scoring.formats import table_bytes
from onnxpress.scoring.journal import locked, state_directory
from tests.cli.test_commands import refusal, run

AWKWARD = ['a "quoted" film', "good,\nbad", "  spaces ", "007", "", "NA", "null", "1.50", "été 👍🏽", "x" * 50_000]


@pytest.fixture(scope="module")
def wanted(artifact: Path) -> Any:
    """What the classifier says of texts."""
    classifier = onnxpress.load(artifact)
    return lambda texts: [(p.label, pytest.approx(p.score, abs=1e-5)) for p in classifier(texts)]


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_csv(content: bytes, delimiter: str = ",") -> list[dict[str, str]]:
    csv.field_size_limit(2**31 - 1)
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), delimiter=delimiter))


def test_csv_columns_come_out_as_they_went_in(artifact: Path, tmp_path: Path, wanted: Any) -> None:
    rows = [{"id": f"{number:03}", "text": text, "note": AWKWARD[-1 - number]} for number, text in enumerate(AWKWARD)]
    summary = onnxpress.score(artifact, write_csv(tmp_path / "in.csv", rows), tmp_path / "out.csv", part_rows=3)
    found = read_csv((tmp_path / "out.csv").read_bytes())
    assert [{name: row[name] for name in ("id", "text", "note")} for row in found] == rows
    assert [(row["label"], float(row["score"])) for row in found] == wanted(AWKWARD)
    assert (summary.finished, summary.rows, summary.written, summary.bad, summary.scored) == (True, 10, 10, 0, 10)
    assert sum(summary.labels.values()) == 10 and summary.columns == {"label": "label", "score": "score"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


@pytest.mark.parametrize("end", ["csv", "tsv", "jsonl", "csv.gz", "tsv.zst", "jsonl.gz", "jsonl.zst", "parquet"])
def test_every_format_to_every_format(artifact: Path, tmp_path: Path, texts: list[str], wanted: Any, end: str) -> None:
    source = write_csv(tmp_path / "in.csv", [{"text": text, "n": str(number)} for number, text in enumerate(texts)])
    onnxpress.score(artifact, source, tmp_path / f"a.{end}", part_rows=64)
    onnxpress.score(artifact, tmp_path / f"a.{end}", tmp_path / "b.csv", part_rows=50)
    found = read_csv((tmp_path / "b.csv").read_bytes())
    assert [(row["text"], row["n"]) for row in found] == [(text, str(number)) for number, text in enumerate(texts)]
    assert [(row["label"], float(row["score"])) for row in found] == wanted(texts)
    assert [row["label_predicted"] for row in found] == [row["label"] for row in found]


def test_parquet_keeps_types_and_nulls(artifact: Path, tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": ["good", "bad", "fine"],
            "day": pa.array([date(2020, 1, 2), None, date(1999, 9, 9)]),
            "price": pa.array([Decimal("1.10"), None, Decimal("2.00")], pa.decimal128(6, 2)),
            "tags": pa.array([["a"], [], None], pa.list_(pa.string())),
            "bytes": pa.array([b"\xff\x00", None, b""], pa.binary()),
            "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / "out.parquet", top_k=9, probabilities=True)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(table.column_names).to_pylist() == table.to_pylist()
    assert found.schema.field("price").type == pa.decimal128(6, 2) and found.schema.field("day").type == pa.date32()
    added = found.column_names[len(table.column_names) :]
    assert added == ["label", "score", "label_2", "score_2", "score_of_negative", "score_of_positive"]
    for row in found.to_pylist():
        assert row["score"] >= row["score_2"] and row["score"] == row[f"score_of_{row['label']}"]
        assert row["score"] + row["score_2"] == pytest.approx(1, abs=1e-6)


def test_json_lines_keep_what_they_hold(artifact: Path, tmp_path: Path) -> None:
    rows = [
        {"text": "good", "at": "2020-01-01T00:00:00Z", "deep": {"a": [1, 2.5, None, "é"]}},
        {"text": "bad", "big": 2**60},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in row.items() if k not in ("label", "score")} for row in found] == rows


def test_pairs_bom_tabs_and_a_field_of_ten_megabytes(artifact: Path, tmp_path: Path) -> None:
    large = "good " * 2_000_000
    with gzip.open(tmp_path / "in.tsv.gz", "wt", encoding="utf-8-sig", newline="") as file:
        file.write(f'text\tother\tlarge\ngood\tbad\t"{large}"\nbad\tgood\t"a\nb"\n')
    onnxpress.score(artifact, tmp_path / "in.tsv.gz", tmp_path / "out.tsv", pair_column="other")
    found = read_csv((tmp_path / "out.tsv").read_bytes(), "\t")
    assert [row["large"] for row in found] == [large, "a\nb"]
    with onnxpress.load(artifact) as classifier:
        answers = classifier([("good", "bad"), ("bad", "good")])
    assert [float(row["score"]) for row in found] == pytest.approx([answer.score for answer in answers], abs=1e-5)


def test_a_part_is_written_right_behind_an_empty_chunk() -> None:
    large = "good " * 2_000_000
    table = pa.table({"text": ["good", "bad"], "large": [large, "b"]})
    content = table_bytes(pa.concat_tables([table.schema.empty_table(), table]), "csv")
    assert content == f'"good","{large}"\n"bad","b"\n'.encode()


def test_no_rows(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,id\n")
    (tmp_path / "in.jsonl").write_text("")
    pq.write_table(
        pa.table({"text": pa.array([], pa.string()), "n": pa.array([], pa.int64())}), tmp_path / "in.parquet"
    )
    for end in ("csv", "jsonl", "parquet"):
        assert onnxpress.score(artifact, tmp_path / f"in.{end}", tmp_path / f"out.{end}").rows == 0
    assert (tmp_path / "out.csv").read_text() == '"text","id","label","score"\n'
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert pq.read_table(tmp_path / "out.parquet").schema.names == ["text", "n", "label", "score"]


def test_directories_and_patterns_are_read_in_order(artifact: Path, tmp_path: Path, texts: list[str]) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in (2, 0, 1):
        chosen = texts[number * 40 : (number + 1) * 40]
        pq.write_table(pa.table({"text": chosen}), folder / f"part-{number}.parquet")
    (folder / "_SUCCESS").touch()
    onnxpress.score(artifact, folder, tmp_path / "all.parquet", part_rows=64)
    onnxpress.score(artifact, str(folder / "part-[02].parquet"), tmp_path / "some.parquet")
    assert pq.read_table(tmp_path / "all.parquet").column("text").to_pylist() == texts[:120]
    assert pq.read_table(tmp_path / "some.parquet").column("text").to_pylist() == texts[:40] + texts[80:120]


BAD = [
    b'{"text": "good", "id": 1}',
    b'{"text": null}',
    b'{"id": 3}',
    b'{"text": 7}',
    b"{",
    b'{"text": "\xff"}',
    b'{"text": "%s"}' % (b"x" * 100_001),
    b"[1]",
    b'{"text": "bad", "id": 9}',
]
REASONS = [
    "the field 'text' is null",
    "the field 'text' is missing",
    "the field 'text' is of type int",
    "the line is not JSON",
    "the line is not JSON",
    "has 100,001 characters; the limit is 100,000",
    "the line is no JSON object",
]


@pytest.mark.parametrize("mode", ["null", "skip"])
def test_bad_rows_are_named_and_left_empty_or_out(artifact: Path, tmp_path: Path, mode: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(BAD))
    summary = onnxpress.score(
        artifact,
        tmp_path / "in.jsonl",
        tmp_path / "out.jsonl",
        on_bad_row=mode,
        part_rows=4,  # type: ignore[arg-type]
    )
    assert (summary.rows, summary.bad, summary.written) == (9, 7, 2 if mode == "skip" else 9)
    assert sum(summary.labels.values()) == 2
    rejected = [json.loads(line) for line in (tmp_path / "out.jsonl.rejected.jsonl").read_text().splitlines()]
    assert [(row["file"], row["row"]) for row in rejected] == [("in.jsonl", row) for row in range(2, 9)]
    assert all(row["reason"].startswith(reason) for row, reason in zip(rejected, REASONS, strict=True))
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in found if row["label"]] == [1, 9]
    if mode == "null":
        assert [row["label"] for row in found[1:8]] == [None] * 7 == [row["score"] for row in found[1:8]]


def test_a_bad_row_stops_and_what_was_before_it_is_kept(artifact: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.parquet", tmp_path / "out.csv"
    pq.write_table(pa.table({"text": ["good"] * 10 + [None] + ["bad"] * 5}), source)
    with pytest.raises(onnxpress.BadRowError, match=r"in\.parquet, row 11: the text is null\. .*--on-bad-row"):
        onnxpress.score(artifact, source, target, part_rows=4)
    assert not target.exists()
    summary = onnxpress.score(artifact, source, target, part_rows=4, on_bad_row="skip")
    assert (summary.rows, summary.written, summary.scored) == (16, 15, 8)
    with pytest.raises(onnxpress.OutputExistsError):
        onnxpress.score(artifact, source, target)


def test_a_mode_that_bad_rows_were_met_with_stays(artifact: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b"\n".join(BAD))
    asked: list[int] = []
    options: dict[str, Any] = {"part_rows": 2, "stop": lambda: len(asked) > 2 or asked.append(1)}
    assert not onnxpress.score(artifact, source, target, on_bad_row="null", **options).finished
    with pytest.raises(onnxpress.ConfigError, match="--on-bad-row null so far"):
        onnxpress.score(artifact, source, target, on_bad_row="skip", part_rows=2)
    assert onnxpress.score(artifact, source, target, on_bad_row="null", part_rows=2).finished


def test_what_changed_since_is_told(artifact: Path, tmp_path: Path) -> None:
    source, target = write_csv(tmp_path / "in.csv", [{"text": "good", "b": "1"}] * 9), tmp_path / "out.csv"
    asked: list[int] = []
    first = onnxpress.score(artifact, source, target, part_rows=2, stop=lambda: len(asked) > 2 or asked.append(1))  # type: ignore[func-returns-value]
    assert not first.finished and 0 < first.rows < 9
    with pytest.raises(onnxpress.ConfigError, match=r"changed since: the columns, part_rows\. Pass --restart"):
        onnxpress.score(artifact, source, target, top_k=2)
    write_csv(source, [{"text": "bad", "b": "1"}] * 9)
    with pytest.raises(onnxpress.ConfigError, match="changed since: the input"):
        onnxpress.score(artifact, source, target, part_rows=2)
    again = onnxpress.score(artifact, source, target, part_rows=2, restart=True)
    assert again.finished and again.scored == 9 and not state_directory(target).exists()


def test_two_runs_on_one_output_are_refused(artifact: Path, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", [{"text": "good"}])
    with locked(tmp_path / "out.csv"):
        says = refusal("score", artifact, source, tmp_path / "out.csv")
    assert "is being written by another process" in says
    assert run("score", artifact, source, tmp_path / "out.csv").returncode == 0


@pytest.mark.parametrize(
    ("name", "content", "arguments", "says"),
    [
        ("in.csv", b"a,b\n1,2\n", (), "has no column 'text' (it has a, b)"),
        ("in.csv", b"text,text\n1,2\n", (), "the column 'text' occurs 2 times"),
        ("in.csv", b"", (), "is empty; its first line must name the columns"),
        ("in.csv", b"text\n\xff\n", (), "cannot be read as csv"),
        ("in.csv", b"text,b\n1\n", (), "cannot be read as csv"),
        ("in.parquet", b"nonsense", (), "cannot be read as parquet"),
        ("in.jsonl.gz", b"nonsense", (), "cannot be read as jsonl"),
        ("in.txt", b"good\n", (), "the end of the name must be .csv, .tsv, .jsonl"),
        ("in.csv", b"text\n1\n", ("--on-bad-row", "drop"), "on_bad_row must be error, null, skip, got 'drop'"),
        ("in.csv", b"text\n1\n", ("--top-k", "0"), "top_k must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_one_line(
    artifact: Path, tmp_path: Path, name: str, content: bytes, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert says in refusal("score", artifact, tmp_path / name, tmp_path / "out.csv", *arguments)
    assert not (tmp_path / "out.csv").exists()


def test_input_and_output_must_be_files_of_their_own(artifact: Path, tmp_path: Path) -> None:
    assert "no such file" in refusal("score", artifact, tmp_path / "nothing-*.csv", tmp_path / "out.csv")
    source = write_csv(tmp_path / "in.csv", [{"text": "good"}])
    assert "is the input too" in refusal("score", artifact, source, source, "--force")


def test_the_command_tells_what_it_did(artifact: Path, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", [{"text": "good", "label": "mine"}, {"text": "bad", "label": "x"}])
    done = run("score", artifact, source, tmp_path / "out.parquet", "--summary", tmp_path / "summary.json")
    assert done.returncode == 0 and done.stdout == b"", done.stderr.decode()
    words = " ".join(done.stderr.decode().split())
    assert words.startswith("2 rows (") and "label is called label_predicted" in words
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["rows"] == summary["written"] == 2 and sum(summary["labels"].values()) == 2
