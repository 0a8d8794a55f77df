"""Lines of a stream, as soon as they come."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Final

from onnxpress.errors import ConfigError

__all__ = ["ready_lines"]

_BLOCK: Final = 2**16


def ready_lines(stream: BufferedIOBase, most: int) -> Iterator[list[str]]:
    """The lines that have come so far, without their ends, at most `most` of them at a time; at least one.

    The stream is waited for only when nothing whole is at hand. A byte order mark at its beginning is dropped.

    Raises:
        ConfigError: A line is not UTF-8; all before it were given.
    """
    number = 0
    for block in _blocks(stream):
        ready: list[str] = []
        for line in block:
            number += 1
            try:
                ready.append(line.decode("utf-8").rstrip("\r\n"))
            except UnicodeDecodeError as error:
                if ready:
                    yield ready
                raise ConfigError(
                    f"line {number} of standard input is not UTF-8 ({error.reason} at byte {error.start}). "
                    "Convert it, for example with iconv."
                ) from error
            if len(ready) == most:
                yield ready
                ready = []
        if ready:
            yield ready


def _blocks(stream: BufferedIOBase) -> Iterator[list[bytes]]:
    """Whole lines, all that came at once; at the end what is left."""
    parts: list[bytes] = []
    first = True
    while block := stream.read1(_BLOCK):
        whole, newline, rest = block.rpartition(b"\n")
        if newline:
            yield _split(b"".join((*parts, whole)), first)
            parts, first = [], False
        parts.append(rest)
    last = b"".join(parts)
    if last.removeprefix(BOM_UTF8) if first else last:
        yield _split(last, first)


def _split(lines: bytes, first: bool) -> list[bytes]:
    return (lines.removeprefix(BOM_UTF8) if first else lines).split(b"\n")
