"""What the formats of lines have in common: rows out of lines, cut into chunks by number and size."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from onnxpress.errors import ConfigError
from onnxpress.scoring.rows import Position, Problem

__all__ = ["BOM", "MAX_FIELD", "Lines", "Row", "Run", "cut_rows", "repaired", "stripped"]

BOM: Final = b"\xef\xbb\xbf"
MAX_FIELD: Final = 256 * 2**20

_SKIPPED: Final = 2**20
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Row:
    """A row's values, or None where they cannot be read.

    Attributes:
        values: What the format makes of them.
        problem: What is wrong with them.
        end: The offset after the row.
        lines: Lines that it spans; blank ones count only where each is a row.
    """

    values: object
    problem: Problem | None
    end: int
    lines: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive rows between two places of one file."""

    start: Position
    end: Position
    rows: list[Row]


class Lines:
    """The lines of `stream` from the byte `offset`, as bytes, without a byte order mark.

    Attributes:
        offset: Where the next line begins.
        taken: Lines since the last `forget`.
    """

    def __init__(self, stream: BinaryIO, name: str, offset: int) -> None:
        self._stream, self._name = stream, name
        self._returned: deque[bytes] = deque()
        self.offset = offset
        self.taken: list[bytes] = []
        _skip(stream, offset)

    def forget(self) -> None:
        """Begin another row."""
        self.taken.clear()

    def give_back(self) -> None:
        """Take the lines behind the first one of the row again."""
        again = self.taken[1:]
        self._returned.extendleft(reversed(again))
        self.offset -= sum(map(len, again))
        del self.taken[1:]

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self._returned.popleft() if self._returned else self._stream.readline(MAX_FIELD + 1)
        if not line:
            raise StopIteration
        if len(line) > MAX_FIELD:
            raise ConfigError(f"{self._name}: a line is longer than {MAX_FIELD:,} bytes. Is it another format?")
        at_start = self.offset == 0
        self.offset += len(line)
        if at_start:
            if line.startswith(_UTF_16):
                raise ConfigError(f"{self._name}: is UTF-16. Convert it, for example with iconv -f UTF-16 -t UTF-8.")
            line = line.removeprefix(BOM)
        self.taken.append(line)
        return line


def cut_rows(rows: Iterator[Row], start: Position, *, chunk_rows: int, chunk_bytes: int) -> Iterator[Run]:
    """Runs of `chunk_rows` rows, shorter where they would exceed `chunk_bytes`: by the rows after `start` alone."""
    held: list[Row] = []
    for row in rows:
        held.append(row)
        if len(held) == chunk_rows or row.end - start.offset >= chunk_bytes:
            end = Position(start.file, row.end, start.row + len(held))
            yield Run(start, end, held)
            start, held = end, []
    if held:
        yield Run(start, Position(start.file, held[-1].end, start.row + len(held)), held)


def stripped(line: bytes) -> bytes:
    """`line` without its end: a line feed, with a carriage return before it or not."""
    return line.removesuffix(b"\n").removesuffix(b"\r") if line.endswith(b"\n") else line


def repaired(line: bytes) -> tuple[str, Problem | None]:
    """`line` as text, with U+FFFD and a problem where it is no UTF-8."""
    try:
        return line.decode("utf-8"), None
    except UnicodeDecodeError:
        return line.decode("utf-8", "replace"), Problem("is not UTF-8")


def _skip(stream: BinaryIO, offset: int) -> None:
    if offset and stream.seekable():
        stream.seek(offset)
        return
    while offset and (block := stream.read(min(offset, _SKIPPED))):
        offset -= len(block)
