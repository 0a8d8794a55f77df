"""Plain text: a text a line, every line a row."""

from __future__ import annotations

from collections.abc import Iterator

from onnxpress.scoring.text_rows import Lines, Row, repaired, stripped

__all__ = ["line_rows"]


def line_rows(lines: Lines) -> Iterator[Row]:
    """The rows of `lines`, one value each; a blank line is an empty text."""
    for line in lines:
        lines.forget()
        text, problem = repaired(stripped(line))
        yield Row([text], problem, lines.offset)
