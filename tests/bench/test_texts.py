from __future__ import annotations

from pathlib import Path

import pytest

import onnxpress
from onnxpress_bench.texts import read_texts


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_lines_of_text(tmp_path: Path) -> None:
    path = written(tmp_path / "texts.txt", "good film\r\n\n  bad – very\nlast".encode())
    assert read_texts(path) == ["good film", "  bad – very", "last"]


def test_json_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "texts.jsonl", b'{"text": "a\\nb", "label": 1}\n\n{"text": ""}\n')
    assert read_texts(path) == ["a\nb", ""]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("texts.txt", b"", "holds no text"),
        ("texts.txt", b"\n \n", "holds no text"),
        ("texts.txt", b"fine\n\xff\n", "texts.txt:2: .*utf-8"),
        ("texts.jsonl", b'{"text": "a"}\n{"words": "b"}\n', "texts.jsonl:2: .*`text`"),
        ("texts.jsonl", b'{"text": 1}\n', "texts.jsonl:1: "),
        ("texts.jsonl", b"not json\n", "texts.jsonl:1: "),
    ],
)
def test_what_cannot_be_read_is_told_by_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(onnxpress.ConfigError, match=says):
        read_texts(written(tmp_path / name, content))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(onnxpress.ConfigError, match="no such file"):
        read_texts(tmp_path / "nowhere.txt")
