from __future__ import annotations

import gzip
from pathlib import Path

import pytest

import onnxpress
from onnxpress.examples import Example, read_examples, read_texts


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_lines_of_text(tmp_path: Path) -> None:
    path = written(tmp_path / "texts.txt", "good film\r\n\n  bad – very\nlast".encode())
    assert read_texts(path) == ["good film", "  bad – very", "last"]


def test_json_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "texts.jsonl", b'{"text": "a\\nb", "label": 1}\n\n{"text": ""}\n')
    assert read_texts(path) == ["a\nb", ""]


def test_tables_with_labels_and_pairs(tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", '\ufefflabel,text,other\ngood,"a, b",1\n,c,2\n'.encode())
    assert read_examples(table) == [Example("a, b", "good"), Example("c")]
    pairs = written(tmp_path / "t.jsonl", b'{"text": "a", "text_pair": "b", "label": 1}\n')
    assert read_examples(pairs) == [Example(("a", "b"), "1")]
    with pytest.raises(onnxpress.ConfigError, match="sentence pairs"):
        read_texts(pairs)


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": [1, 0], "x": [None, 1]}), tmp_path / "t.parquet")
    assert read_examples(tmp_path / "t.parquet") == [Example("a", "1"), Example("b", "0")]
    with pytest.raises(onnxpress.ConfigError, match="no Parquet file"):
        read_examples(written(tmp_path / "bad.parquet", b"PAR1"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("texts.txt", b"", "holds no text"),
        ("texts.txt", b"\n \n", "holds no text"),
        ("texts.txt", b"fine\n\xff\n", "texts.txt: row 2: .*utf-8"),
        ("texts.jsonl", b'{"text": "a"}\n{"words": "b"}\n', "texts.jsonl: row 2: .*`text`"),
        ("texts.jsonl", b'{"text": 1}\n', "texts.jsonl: row 1: "),
        ("texts.csv", b"words\na\n", "texts.csv: row 1: .*`text`"),
        ("texts.jsonl", b"not json\n", "texts.jsonl: row 1: "),
    ],
)
def test_what_cannot_be_read_is_told_by_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(onnxpress.ConfigError, match=says):
        read_texts(written(tmp_path / name, content))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(onnxpress.ConfigError, match="no such file"):
        read_texts(tmp_path / "nowhere.txt")


TEXTS = ["good film", 'a "quoted", text']


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["txt", "csv", "tsv", "jsonl", "ndjson", "jsonl.gz", "csv.gz", "txt.gz", "reviews"])
def test_each_format_with_a_byte_order_mark_and_without(tmp_path: Path, end: str, mark: bytes) -> None:
    kind = end.partition(".")[0]
    content = {
        "csv": b'text,label\n"good film",1\n"a ""quoted"", text",0\n',
        "tsv": b'text\tlabel\ngood film\t1\na "quoted", text\t0\n',
        "jsonl": b'{"text": "good film", "label": 1}\n{"text": "a \\"quoted\\", text", "label": 0}\n',
    }
    content["ndjson"] = content["jsonl"]
    body = mark + content.get(kind, b'good film\na "quoted", text\n')
    path = written(tmp_path / f"t.{end}", gzip.compress(body) if end.endswith("gz") else body)
    found = read_examples(path)
    assert [example.text for example in found] == TEXTS
    assert [example.label for example in found] == (["1", "0"] if kind in content else [None, None])


def test_tsv_is_taken_as_it_stands(tmp_path: Path) -> None:
    texts = ["plain", '"open only', "second", 'end"', '"quoted"']
    path = written(tmp_path / "t.tsv", ("id\ttext\n" + "".join(f"{n}\t{t}\n" for n, t in enumerate(texts))).encode())
    assert read_texts(path) == texts


def test_numbers_are_labels_too(tmp_path: Path) -> None:
    lines = [b'{"text": "a", "label": %s}' % label for label in (b"1", b"1.0", b"0.25", b'"x"', b"null", b"NaN")]
    path = written(tmp_path / "t.jsonl", b"\n".join(lines))
    assert [example.label for example in read_examples(path)] == ["1", "1.0", "0.25", "x", None, None]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "t.csv",
            b'text,label\ngood,1\n"open,0\nbad,1\n',
            r"t\.csv: row 2: cannot be read .*of the 2 lines that it would",
        ),
        ("t.tsv", b"text\tlabel\ngood\n", r"t\.tsv: row 1: has 1 fields, the header has 2"),
        ("t.csv", b"", r"t\.csv: has no header"),
        ("t.jsonl", b"[1]\n", r"t\.jsonl: row 1: "),
        ("t.jsonl.gz", b"not gzip", r"t\.jsonl\.gz: row 1: "),
        ("t.txt", "good".encode("utf-16"), r"t\.txt: is UTF-16"),
    ],
)
def test_what_is_no_row_is_told(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(onnxpress.ConfigError, match=says):
        read_examples(written(tmp_path / name, content))
