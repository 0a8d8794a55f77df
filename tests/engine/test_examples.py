from __future__ import annotations

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
