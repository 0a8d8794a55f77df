"""`onnxpress predict` on standard input: an answer to each line as it comes, and a bad one by its number."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress.cli.lines import ready_lines
from onnxpress.errors import ConfigError
from tests.cli.test_commands import answers, run

MARK = b"\xef\xbb\xbf"


class Slow(io.RawIOBase):
    """Gives one piece a read, as a pipe does."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = iter(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = next(self._pieces, b"")
        buffer[: len(piece)] = piece
        return len(piece)


def lines_of(*pieces: bytes, most: int = 100) -> list[list[str]]:
    return list(ready_lines(io.BufferedReader(Slow(*pieces)), most))


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ((), []),
        ((b"a\nb\n",), [["a", "b"]]),
        ((b"a\n", b"b\n"), [["a"], ["b"]]),
        ((b"a\nb", b"c\nd"), [["a"], ["bc"], ["d"]]),
        ((b"a", b"b", b"c\n"), [["abc"]]),
        ((b"a\r\nb\r", b"\nc"), [["a"], ["b"], ["c"]]),
        ((b"\n\n", b" \n"), [["", ""], [" "]]),
        ((b"caf\xc3", b"\xa9\n"), [["café"]]),
        ((MARK + b"a\n" + MARK + b"b\n",), [["a", "\ufeffb"]]),
        ((MARK[:1], MARK[1:] + b"a", b"b\n"), [["ab"]]),
        ((MARK,), []),
        ((MARK + b"\n",), [[""]]),
        ((b"a\x0bb\x0cc\x85\n".replace(b"\x85", "\u2028".encode()),), [["a\x0bb\x0cc\u2028"]]),
    ],
)
def test_lines_come_as_soon_as_they_are_whole(pieces: tuple[bytes, ...], lines: list[list[str]]) -> None:
    assert lines_of(*pieces) == lines


def test_no_more_than_asked_come_at_once() -> None:
    assert lines_of(b"a\nb\nc\nd\ne\n", most=2) == [["a", "b"], ["c", "d"], ["e"]]


def test_lines_before_one_that_is_not_utf8_are_given() -> None:
    found: Iterator[list[str]] = ready_lines(io.BytesIO(b"a\nb\n\xff\nd\n"), 100)
    assert next(found) == ["a", "b"]
    with pytest.raises(ConfigError, match="line 3 of standard input is not UTF-8"):
        next(found)


def test_each_line_is_answered_before_the_next_is_written(artifact: Path) -> None:
    command = [sys.executable, "-m", "onnxpress", "predict", str(artifact)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        for text in ("good film", "", "dull"):
            process.stdin.write(text.encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text  # would wait for ever
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"\xff\xfe", "line 3 of standard input is not UTF-8"),
        (b"x" * 100_001, "line 3 of standard input has 100,001 characters; the limit is 100,000"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--top-k", 2), ("--logits",), ("--accepted",)])
def test_a_bad_line_is_named_by_its_number_after_those_before_it(
    artifact: Path, bad: bytes, says: str, options: tuple[object, ...]
) -> None:
    done = run("predict", artifact, *options, stdin=MARK + b"good\ndull\n" + bad + b"\nfine\n")
    assert done.returncode == 2 and says in done.stderr.decode() and b"Traceback" not in done.stderr
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["good", "dull"]


def test_a_bad_line_far_down_keeps_its_number(artifact: Path) -> None:
    done = run("predict", artifact, stdin=b"good\n" * 1_500 + b"x" * 100_001 + b"\n")
    assert done.returncode == 2 and "line 1,501 of standard input has 100,001" in done.stderr.decode()
    assert len(done.stdout.splitlines()) == 1_500


def test_raw_values(artifact: Path) -> None:
    texts = ["good film", "the worst"]
    with onnxpress.load(artifact) as classifier:
        wanted = classifier.logits(texts)
    for found in (
        answers("predict", artifact, *texts, "--logits"),
        answers("predict", artifact, "--logits", stdin="\n".join(texts).encode()),
    ):
        assert [answer["text"] for answer in found] == texts
        assert all(set(answer) == {"text", "logits"} for answer in found)
        np.testing.assert_allclose([answer["logits"] for answer in found], wanted, rtol=0, atol=5e-6)


def test_closed_standard_input_is_told(artifact: Path) -> None:
    command = f"exec {sys.executable} -m onnxpress predict {artifact} <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: standard input is closed")
