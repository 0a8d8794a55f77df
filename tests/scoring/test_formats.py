"""What comes in comes out: types, nulls, quotes, newlines, marks, sizes, names."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

import onnxpress
from tests.scoring.conftest import ROWS, make_table, read_folder, run_score

TEXTS = ["good film", 'a "quoted", text', "two\nlines", "", "naïve café ☕"]


def csv_rows(path: Path, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_bytes().decode(), newline=""), delimiter=delimiter))


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_csv_keeps_every_character(artifact: Path, tmp_path: Path, suffix: str, delimiter: str) -> None:
    rows = [["007", text, "1e5", "NA", ""] for text in TEXTS] + [["x\r\ny", "good", "\t,", "'", '"']]
    with (tmp_path / f"in{suffix}").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=delimiter).writerows([["id", "text", "n", "m", "e"], *rows])
    summary = onnxpress.score(
        artifact, tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", quoted_tsv=suffix == ".tsv"
    )
    header, *found = csv_rows(tmp_path / f"out{suffix}", delimiter)
    assert header == ["id", "text", "n", "m", "e", "label", "score"] and summary.rows == 6
    assert [row[:5] for row in found] == rows
    with onnxpress.load(artifact) as classifier:
        wanted = classifier([row[1] for row in rows])
    assert [row[5] for row in found] == [prediction.label for prediction in wanted]
    assert [float(row[6]) for row in found] == pytest.approx([p.score for p in wanted], abs=1e-5)


def test_parquet_keeps_types(artifact: Path, tmp_path: Path) -> None:
    when = datetime.datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=datetime.UTC)
    table = pa.table(
        {
            "text": pa.array(TEXTS, pa.large_string()),
            "small": pa.array([1, None, -3, 4, 5], pa.int8()),
            "big": pa.array([2**63, 0, 1, None, 2**64 - 1], pa.uint64()),
            "when": pa.array([when] * 5, pa.timestamp("us", tz="UTC")),
            "price": pa.array([Decimal("1.50"), None, Decimal("-2.25"), Decimal(0), Decimal(9)], pa.decimal128(9, 2)),
            "tags": pa.array([["a"], [], None, ["b", None], []], pa.list_(pa.string())),
            "deep": pa.array([{"a": {"b": 1}}, None, {"a": None}, {"a": {"b": None}}, {"a": {"b": 2}}]),
            "bytes": pa.array([b"\xff\x00", b"", None, b"x", b"y"]),
            "kind": pa.array(["p", "q", None, "p", "p"]).dictionary_encode(),
        },
        metadata={"maker": "a test"},
    )
    table = table.replace_schema_metadata({"maker": "a test"})
    parquet.write_table(table, tmp_path / "in.parquet")
    onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / "out.parquet", columns=["score", "probabilities"])
    found = parquet.read_table(tmp_path / "out.parquet")
    assert found.schema.names == [*table.schema.names, "score", "probability_negative", "probability_positive"]
    assert found.schema.metadata[b"maker"] == b"a test"
    carried = found.select(table.schema.names)
    assert carried.schema.types == table.schema.types
    assert carried.to_pylist() == table.to_pylist()
    assert found.schema.field("score").type == pa.float32()
    onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / "out.csv")
    header, first, *_ = csv_rows(tmp_path / "out.csv")
    told = dict(zip(header, first, strict=True))
    assert told["price"] == "1.50" and told["tags"] == '["a"]' and told["deep"] == '{"a":{"b":1}}'
    assert (
        told["big"] == str(2**63) and told["bytes"] == "/wA=" and told["when"].startswith("2024-02-29 12:00:00.123456")
    )


def test_jsonl_keeps_every_byte(artifact: Path, tmp_path: Path) -> None:
    lines = [
        '{"text": "good film", "n": 1.0, "big": 123456789012345678901234567890, "deep": {"a": [1, {"b": null}]}}',
        '{"when":"2024-01-01T00:00:00Z","text":"caf\\u00e9 \\ud83d\\ude00","label":"mine"}',
        '  {"text":""}  ',
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\xef\xbb\xbf" + "\n\n".join(lines).encode())
    summary = onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    found = (tmp_path / "out.jsonl").read_text().splitlines()
    assert summary.columns == {"label": "label_1", "score": "score"} and len(found) == 3
    for line, answered in zip(lines, found, strict=True):
        assert answered.startswith(line.strip()[:-1] + ',"label_1":"') and set(json.loads(answered)) >= {"score"}
    onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column("deep").to_pylist() == ['{"a":[1,{"b":null}]}', None, None], "of several types: JSON"
    assert table.column("when").to_pylist() == [None, "2024-01-01T00:00:00Z", None]


def test_jsonl_members_of_several_types_become_json(artifact: Path, tmp_path: Path) -> None:
    values = [1, "two", None, [3], 5_000_000_000]
    lines = [json.dumps({"text": "good", "mixed": value, "whole": 1, "part": i / 2}) for i, value in enumerate(values)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column("mixed").to_pylist() == ["1", '"two"', None, "[3]", "5000000000"]
    assert table.schema.field("whole").type == pa.int64() and table.schema.field("part").type == pa.float64()


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_no_rows_give_no_rows(artifact: Path, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "in.csv").write_text("id,text\n")
    summary = onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / f"out.{suffix}")
    assert (summary.rows, summary.scored, summary.labels) == (0, 0, {})
    content = (tmp_path / f"out.{suffix}").read_bytes()
    if suffix == "parquet":
        assert parquet.read_table(tmp_path / "out.parquet").schema.names == ["id", "text", "label", "score"]
    else:
        assert content == {"csv": b"id,text,label,score\n", "tsv": b"id\ttext\tlabel\tscore\n", "jsonl": b""}[suffix]


def test_empty_files_of_each_format(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"")
    onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.parquet")
    assert parquet.read_table(tmp_path / "out.parquet").schema.names == ["label", "score"]
    (tmp_path / "in.csv").write_bytes(b"")
    with pytest.raises(onnxpress.ConfigError, match="has no header"):
        onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / "out.csv")
    parquet.write_table(make_table(3).slice(0, 0), tmp_path / "in.parquet")
    assert onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / "out.csv").rows == 0
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_field_of_10_mb_is_carried(artifact: Path, tmp_path: Path, suffix: str) -> None:
    large = "x,\n" * 3_500_000
    with (tmp_path / "in.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "large"], ["good", "small"], ["bad", large], ["good", "small"]])
    onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / f"out.{suffix}")
    if suffix == "csv":
        csv.field_size_limit(2**28)
        found = [row[1] for row in csv_rows(tmp_path / "out.csv")[1:]]
    elif suffix == "jsonl":
        found = [json.loads(line)["large"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    else:
        found = parquet.read_table(tmp_path / "out.parquet").column("large").to_pylist()
    assert found == ["small", large, "small"]


def test_a_text_of_10_mb_is_classified_when_allowed(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "good " * 2_000_000}))
    with pytest.raises(onnxpress.BadRowError, match=r"row 1 has 10,000,000 characters; the limit is 100,000"):
        onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.csv")
    summary = onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.csv", max_characters=10**7, restart=True)
    assert summary.scored == 1


def test_columns_of_the_same_name_stay(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,text,a,score\n1,good,2,3\n")
    summary = onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / "out.csv")
    assert summary.columns == {"label": "label", "score": "score_1"}
    header, row = csv_rows(tmp_path / "out.csv")
    assert header == ["a", "text", "a", "score", "label", "score_1"] and row[:4] == ["1", "good", "2", "3"]
    onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / "out.parquet")
    onnxpress.score(artifact, tmp_path / "out.parquet", tmp_path / "again.parquet")
    assert parquet.read_schema(tmp_path / "again.parquet").names == [*header, "label_1", "score_2"]
    onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / "out.jsonl")
    (line,) = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(line) | {"label": "", "score_1": 0} == {
        "a": "1",
        "text": "good",
        "a_1": "2",
        "score": "3",
        "label": "",
        "score_1": 0,
    }
    (tmp_path / "twice.csv").write_text("text,text\ngood,bad\n")
    with pytest.raises(onnxpress.ConfigError, match="2 columns are named 'text'"):
        onnxpress.score(artifact, tmp_path / "twice.csv", tmp_path / "twice-out.csv")


@pytest.mark.parametrize("suffix", ["csv.gz", "jsonl.gz", "tsv.zst", "jsonl.zst"])
def test_compressed_files_hold_the_same(artifact: Path, tmp_path: Path, suffix: str) -> None:
    parquet.write_table(make_table(9_000), tmp_path / "in.parquet")
    plain = suffix.partition(".")[0]
    onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / f"out.{plain}")
    onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / f"out.{suffix}")
    with pa.input_stream(tmp_path / f"out.{suffix}") as stream:
        assert stream.read() == (tmp_path / f"out.{plain}").read_bytes()
    summary = onnxpress.score(artifact, tmp_path / f"out.{suffix}", tmp_path / "again.csv")
    assert summary.rows == 9_000


def test_a_cut_off_file_is_told(artifact: Path, tmp_path: Path) -> None:
    whole = gzip.compress(b'{"text": "good"}\n' * 50_000)
    (tmp_path / "in.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(onnxpress.ConfigError, match=r"in\.jsonl\.gz: cannot be read"):
        onnxpress.score(artifact, tmp_path / "in.jsonl.gz", tmp_path / "out.jsonl")
    (tmp_path / "in.parquet").write_bytes(b"PAR1")
    with pytest.raises(onnxpress.ConfigError, match=r"in\.parquet: cannot be read"):
        onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / "out.jsonl")


def test_a_folder_a_glob_and_a_url_are_read_in_order(artifact: Path, tmp_path: Path) -> None:
    import fsspec

    (tmp_path / "in/deep").mkdir(parents=True)
    table = make_table(20_000)
    for index, name in enumerate(["a.parquet", "b.parquet", "deep/c.parquet"]):
        parquet.write_table(table.slice(index * 6_800, 6_800), tmp_path / "in" / name)
    (tmp_path / "in/_SUCCESS.parquet").write_bytes(b"")
    (tmp_path / "in/notes.txt").write_bytes(b"")
    onnxpress.score(artifact, tmp_path / "in", f"{tmp_path}/out/")
    parts = sorted((tmp_path / "out").iterdir())
    assert [part.name for part in parts] == ["part-000000.parquet", "part-000001.parquet"]
    found = pa.concat_tables([parquet.read_table(part) for part in parts])
    assert found.select(["id", "text", "label"]).to_pylist() == table.to_pylist()
    (tmp_path / "in/_SUCCESS.parquet").unlink()
    onnxpress.score(artifact, tmp_path / "in/**/*.parquet", tmp_path / "globbed.parquet")
    assert parquet.read_table(tmp_path / "globbed.parquet").to_pylist() == found.to_pylist()
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "globbed.parquet"), "/bucket/in.parquet")
    summary = onnxpress.score(artifact, "memory://bucket/in.parquet", "memory://bucket/out.csv")
    assert summary.rows == 20_000 and memory.cat("/bucket/out.csv").count(b"\n") == 20_001


def test_files_that_differ_are_refused(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,good\n")
    (tmp_path / "b.csv").write_text("text,id\ngood,1\n")
    with pytest.raises(onnxpress.ConfigError, match=r"b\.csv: its columns are not those of .*a\.csv"):
        onnxpress.score(artifact, f"{tmp_path}/?.csv", tmp_path / "out.csv")
    parquet.write_table(pa.table({"text": [1, 2]}), tmp_path / "n.parquet")
    with pytest.raises(onnxpress.ConfigError, match="the column 'text' holds int64, not text"):
        onnxpress.score(artifact, tmp_path / "n.parquet", tmp_path / "out.csv")
    with pytest.raises(onnxpress.ConfigError, match="0 columns are named 'review'; it has 'id', 'text'"):
        onnxpress.score(artifact, tmp_path / "a.csv", tmp_path / "out.csv", text_column="review")


def test_pairs_are_classified_together(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,b\ngood,film\nbad,plot\n")
    onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / "out.csv", text_column="a", pair_column="b")
    with onnxpress.load(artifact) as classifier:
        wanted = classifier([("good", "film"), ("bad", "plot")])
    found = csv_rows(tmp_path / "out.csv")[1:]
    assert [float(row[3]) for row in found] == pytest.approx([p.score for p in wanted], abs=1e-5)


def test_standard_input_is_read_once_and_kept_until_the_end(artifact: Path, tmp_path: Path) -> None:
    stdin = b"".join(json.dumps({"text": "good", "n": n}).encode() + b"\n" for n in range(100))
    done = run_score(artifact, "-", tmp_path / "out.parquet", "--input-format", "jsonl", stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    assert parquet.read_table(tmp_path / "out.parquet").column("n").to_pylist() == list(range(100))
    assert "the names of the input tell no format" in run_score(artifact, "-", tmp_path / "o.csv").stderr.decode()


def test_a_url_is_replaced_when_asked_and_keeps_no_old_rejects(artifact: Path, tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({"/shop/in.jsonl": b'{"text": "good"}\n{"text": null}\n', "/shop/good.jsonl": b'{"text": "good"}\n'})
    summary = onnxpress.score(artifact, "memory://shop/in.jsonl", "memory://shop/o.csv", on_bad_row="null")
    assert (summary.rows, summary.rejected_file) == (2, "memory://shop/o.csv.rejected.jsonl")
    assert memory.cat("/shop/o.csv.rejected.jsonl").startswith(b'{"file":"memory:///shop/in.jsonl","row":2,')
    with pytest.raises(onnxpress.OutputExistsError, match="exists already"):
        onnxpress.score(artifact, "memory://shop/good.jsonl", "memory://shop/o.csv")
    onnxpress.score(artifact, "memory://shop/good.jsonl", "memory://shop/o.csv", restart=True)
    assert memory.cat("/shop/o.csv").count(b"\n") == 2 and not memory.exists("/shop/o.csv.rejected.jsonl")
    with pytest.raises(onnxpress.ConfigError, match="the output is part of the input"):
        onnxpress.score(artifact, "memory://shop/good.jsonl", "memory:///shop/good.jsonl", restart=True)
    with pytest.raises(onnxpress.ConfigError, match="no such file"):
        onnxpress.score(artifact, "memory://shop/none.jsonl", tmp_path / "o.csv")


ENDS = ["csv", "tsv", "jsonl", "csv.gz", "tsv.zst", "jsonl.gz", "jsonl.zst", "parquet"]


@pytest.mark.parametrize("end", ENDS)
def test_every_format_to_every_format(artifact: Path, tmp_path: Path, texts: list[str], end: str) -> None:
    with (tmp_path / "in.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "n"], *([text, number] for number, text in enumerate(texts))])
    onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / f"a.{end}")
    onnxpress.score(artifact, tmp_path / f"a.{end}", tmp_path / "b.csv")
    header, *found = csv_rows(tmp_path / "b.csv")
    assert header == ["text", "n", "label", "score", "label_1", "score_1"]
    with onnxpress.load(artifact) as classifier:
        wanted = classifier(texts)
    assert [row[:3] for row in found] == [
        [t, str(n), p.label] for n, (t, p) in enumerate(zip(texts, wanted, strict=True))
    ]
    assert [row[2] for row in found] == [row[4] for row in found]
    assert [float(row[3]) for row in found] == pytest.approx([p.score for p in wanted], abs=1e-5)


def test_a_lone_carriage_return_stays_in_its_field(artifact: Path, tmp_path: Path) -> None:
    rows = [{"text": "good", "a": "one\rtwo", "b": None}, {"text": "bad\r", "a": "", "b": "x"}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / "out.csv")
    assert [row[:3] for row in csv_rows(tmp_path / "out.csv")[1:]] == [["good", "one\rtwo", ""], ["bad\r", "", "x"]]
    onnxpress.score(artifact, tmp_path / "out.csv", tmp_path / "again.jsonl")
    found = [json.loads(line) for line in (tmp_path / "again.jsonl").read_bytes().splitlines()]
    assert [row["text"] for row in found] == ["good", "bad\r"]


def test_no_name_of_a_column_is_special(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("line,text,label,label_1,score,file,row\n1,good,2,3,4,5,6\n")
    for end in ("csv", "jsonl", "parquet"):
        summary = onnxpress.score(artifact, tmp_path / "in.csv", tmp_path / f"out.{end}")
        assert summary.columns == {"label": "label_2", "score": "score_1"}
    (row,) = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert json.loads((tmp_path / "out.jsonl").read_bytes()) == pytest.approx(row)
    assert list(row.values())[:7] == ["1", "good", "2", "3", "4", "5", "6"]
    assert csv_rows(tmp_path / "out.csv")[0] == list(row)


@pytest.mark.parametrize("end", ["csv", "jsonl", "parquet"])
def test_a_part_whose_first_rows_are_all_left_out_is_written_right(artifact: Path, tmp_path: Path, end: str) -> None:
    large = "good " * 2_000_000
    texts = [None] * 4_096 + ["good", "bad"]
    parquet.write_table(pa.table({"text": texts, "large": [""] * 4_096 + [large, "b"]}), tmp_path / "in.parquet")
    summary = onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / f"out.{end}", on_bad_row="skip")
    assert (summary.rows, summary.scored, sum(summary.labels.values())) == (4_098, 2, 2)
    csv.field_size_limit(2**28)
    if end == "csv":
        found = [row[:2] for row in csv_rows(tmp_path / "out.csv")[1:]]
    elif end == "jsonl":
        lines = (tmp_path / "out.jsonl").read_bytes().splitlines()
        found = [[row["text"], row["large"]] for row in map(json.loads, lines)]
    else:
        found = [[row["text"], row["large"]] for row in parquet.read_table(tmp_path / "out.parquet").to_pylist()]
    assert found == [["good", large], ["bad", "b"]]


@pytest.mark.parametrize("end", ["csv.gz", "jsonl.zst"])
def test_compressed_bytes_bear_no_time(
    artifact: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    onnxpress.score(artifact, source, tmp_path / f"a.{end}")
    monkeypatch.setattr("time.time", lambda: 2e9)
    onnxpress.score(artifact, source, tmp_path / f"b.{end}")
    content = (tmp_path / f"a.{end}").read_bytes()
    assert content == (tmp_path / f"b.{end}").read_bytes()
    assert end != "csv.gz" or content[4:8] == bytes(4), "the header's time of modification"


def test_a_format_that_is_asked_for_goes_before_the_name(artifact: Path, source: Path, tmp_path: Path) -> None:
    onnxpress.score(artifact, source, tmp_path / "out.csv.gz", output_format="parquet")
    assert parquet.read_table(tmp_path / "out.csv.gz").num_rows == ROWS
    onnxpress.score(artifact, tmp_path / "out.csv.gz", tmp_path / "again", input_format="parquet", output_format="tsv")
    assert "part-000000.tsv" in read_folder(tmp_path / "again")


def test_nanoseconds_and_bytes_that_are_no_text_are_carried(artifact: Path, tmp_path: Path) -> None:
    raw = pa.array([b"caf\xff", None])
    table = pa.table(
        {
            "text": ["good", None],
            "raw": pa.Array.from_buffers(pa.string(), 2, raw.buffers()),
            "when": pa.array([1, None], pa.timestamp("ns")),
            "took": pa.array([1, 2], pa.duration("ns")),
            "deep": pa.array([{"when": 1}, None], pa.struct([("when", pa.timestamp("ns"))])),
        }
    )
    parquet.write_table(table, tmp_path / "in.parquet")
    onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / "out.jsonl", on_bad_row="null")
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_bytes().splitlines())
    assert (first["raw"], first["when"], first["took"]) == ("caf\ufffd", "1970-01-01 00:00:00.000000001", "1")
    assert first["deep"]["when"].endswith("00.000000001") and second["label"] is None
    (rejected,) = map(json.loads, (tmp_path / "out.jsonl.rejected.jsonl").read_bytes().splitlines())
    assert rejected["values"] == {"text": None, "raw": None, "when": None, "took": "2", "deep": None}
    onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / "out.csv", on_bad_row="null")
    assert csv_rows(tmp_path / "out.csv")[1][1:4] == ["caf\ufffd", "1970-01-01 00:00:00.000000001", "1"]
    onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / "out.parquet", on_bad_row="null")
    assert parquet.read_table(tmp_path / "out.parquet").column("raw").cast(pa.binary()).to_pylist() == [
        b"caf\xff",
        None,
    ]


def test_types_are_kept_over_parts(artifact: Path, tmp_path: Path) -> None:
    table = make_table(20_000).append_column("kind", pa.array([f"k{n // 5_000}" for n in range(20_000)]))
    table = table.set_column(3, "kind", table.column("kind").combine_chunks().dictionary_encode())
    parquet.write_table(table, tmp_path / "in.parquet", row_group_size=7_000)
    onnxpress.score(artifact, tmp_path / "in.parquet", tmp_path / "out.parquet")
    found = parquet.read_table(tmp_path / "out.parquet")
    assert (
        found.schema.types[:4] == table.schema.types
        and found.select(table.column_names).to_pylist() == table.to_pylist()
    )


@pytest.mark.parametrize("end", ["csv", "parquet"])
def test_objects_that_differ_make_one_table(artifact: Path, tmp_path: Path, end: str) -> None:
    """The columns are those of all rows, whichever part they come in; none moves."""
    lines = [
        json.dumps({"text": "good", "a": number} | ({"b": "late"} if number > 9_000 else {}))
        for number in range(10_000)
    ]
    (tmp_path / "in.jsonl").write_text("\n".join([*lines, '{"c": 0.5, "text": "bad"}']))
    onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / f"out.{end}")
    if end == "csv":
        header, *rows = csv_rows(tmp_path / "out.csv")
        assert {len(row) for row in rows} == {6}
        chosen = [dict(zip(header, rows[place], strict=True)) for place in (0, 9_999, 10_000)]
        nothing: str | None = ""
    else:
        table = parquet.read_table(tmp_path / "out.parquet")
        header, nothing = table.column_names, None
        assert table.schema.types[1:4] == [pa.int64(), pa.string(), pa.float64()]
        chosen = [
            {name: None if v is None else str(v) for name, v in table.slice(p, 1).to_pylist()[0].items()}
            for p in (0, 9_999, 10_000)
        ]
    assert header == ["text", "a", "b", "c", "label", "score"]
    assert [[row[name] for name in "abc"] for row in chosen] == [
        ["0", nothing, nothing],
        ["9999", "late", nothing],
        [nothing, nothing, "0.5"],
    ]


def test_a_row_that_does_not_fit_is_told_with_its_file_and_number(artifact: Path, tmp_path: Path) -> None:
    """What no float holds exactly, in a column that becomes float by a row far behind."""
    lines = [json.dumps({"text": "good", "n": 2**60 + 1 if number == 4_097 else number}) for number in range(9_000)]
    (tmp_path / "in.jsonl").write_text("\n".join([*lines, '{"text": "bad", "n": 0.5}']))
    with pytest.raises(onnxpress.ConfigError, match=r"in\.jsonl: row 4,098 has a 'n' that does not fit double.*JSONL"):
        onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.csv")
    assert onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / "out.jsonl").rows == 9_001


def test_a_member_that_no_object_has_is_told(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "good"}\n')
    for name in ("out.jsonl", "out.csv"):
        with pytest.raises(onnxpress.ConfigError, match="0 columns are named 'body'; it has 'text'"):
            onnxpress.score(artifact, tmp_path / "in.jsonl", tmp_path / name, text_column="body", on_bad_row="null")
