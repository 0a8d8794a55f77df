"""What CSV and JSONL have in common: rows out of lines, cut into chunks by number and size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from onnxpress.errors import ConfigError
from onnxpress.scoring.rows import Position, Problem

__all__ = ["MAX_FIELD", "Lines", "Row", "Run", "cut_rows"]

MAX_FIELD: Final = 256 * 2**20

_BOM: Final = b"\xef\xbb\xbf"
_SKIPPED: Final = 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """A row's values, or None where they cannot be read; `end` is the offset after it."""

    values: object
    problem: Problem | None
    end: int


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
        self.offset = offset
        self.taken: list[bytes] = []
        _skip(stream, offset)

    def forget(self) -> None:
        """Begin another row."""
        self.taken.clear()

    def __iter__(self) -> Iterator[bytes]:
        while line := self._stream.readline(MAX_FIELD + 1):
            if len(line) > MAX_FIELD:
                raise ConfigError(f"{self._name}: a line is longer than {MAX_FIELD:,} bytes. Is it another format?")
            at_start = self.offset == 0
            self.offset += len(line)
            if at_start:
                line = line.removeprefix(_BOM)
            self.taken.append(line)
            yield line


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


def _skip(stream: BinaryIO, offset: int) -> None:
    if offset and stream.seekable():
        stream.seek(offset)
        return
    while offset and (block := stream.read(min(offset, _SKIPPED))):
        offset -= len(block)
