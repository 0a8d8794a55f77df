"""CSV and TSV as records: every field is text, exactly as it stands there.

A record with a quote that is closed nowhere, or not before a delimiter, has no end that can be known. Its first line
alone is what cannot be read; the lines behind it are records of their own.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

from onnxpress.errors import ConfigError
from onnxpress.scoring.rows import Problem
from onnxpress.scoring.text_rows import MAX_FIELD, Lines, Row, repaired, stripped

__all__ = ["Dialect", "csv_header", "csv_rows", "is_counted"]


class Dialect(NamedTuple):
    """How fields are told apart.

    Attributes:
        delimiter: What stands between them.
        is_quoted: Whether a field may be quoted, and then hold delimiters and line breaks.
    """

    delimiter: str
    is_quoted: bool


def csv_header(lines: Lines, name: str, dialect: Dialect) -> list[str]:
    """The names of the columns, which the first of `lines` that is not blank holds.

    Raises:
        ConfigError: There is no header, or it cannot be read; names the file `name`.
    """
    row = next((row for row in _records(lines, dialect) if row.values != []), None)
    lines.forget()
    if row is None:
        raise ConfigError(f"{name}: has no header. The first row must name the columns.")
    if row.problem is not None:
        raise ConfigError(f"{name}: the header {row.problem.reason}. The first row must name the columns.")
    return cast("list[str]", row.values)


def csv_rows(lines: Lines, dialect: Dialect, width: int) -> Iterator[Row]:
    """The rows of `lines` behind the header, `width` values each.

    A blank line is a row of one column, whose field is empty; of more columns it is passed over.
    """
    for row in _records(lines, dialect):
        fields = cast("list[str] | None", row.values)
        if fields == []:
            if width > 1:
                continue
            fields = [""]
        counted = sum(is_counted(line, width) for line in lines.taken)
        problem = row.problem
        if fields is not None and len(fields) != width:
            over = f" over {len(lines.taken):,} lines" if len(lines.taken) > 1 else ""
            problem = Problem(f"has {len(fields):,} fields{over}, the header has {width:,}", _raw(lines.taken))
            fields = None
        yield Row(fields, problem, row.end, counted)


def is_counted(line: bytes, width: int) -> bool:
    """Whether `line` is one of those that the rows of `width` columns are made of."""
    return width == 1 or bool(stripped(line))


def _records(lines: Lines, dialect: Dialect) -> Iterator[Row]:
    """Every record of `lines`; of a blank line one without fields."""
    return _quoted(lines, dialect.delimiter) if dialect.is_quoted else _plain(lines, dialect.delimiter)


def _plain(lines: Lines, delimiter: str) -> Iterator[Row]:
    lines.forget()
    for line in lines:
        text, problem = repaired(stripped(line))
        yield Row(text.split(delimiter) if text else [], problem, lines.offset)
        lines.forget()


def _quoted(lines: Lines, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(max(MAX_FIELD, csv.field_size_limit()))
    decoded = map(_decoded, lines)  # goes on behind the end, when lines were given back
    reader = csv.reader(decoded, delimiter=delimiter, strict=True)
    while True:
        lines.forget()
        try:
            fields = next(reader, None)
        except csv.Error as error:
            behind = len(lines.taken) - 1
            lines.give_back()
            told = (
                f"; of the {behind + 1:,} lines that it would span the others are rows of their own" if behind else ""
            )
            yield Row(None, Problem(f"cannot be read ({error}{told})", _raw(lines.taken)), lines.offset)
            continue
        if fields is None:
            return
        if all(map(_is_utf8, lines.taken)):
            yield Row(fields, None, lines.offset)
        else:
            texts = [field.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for field in fields]
            yield Row(texts, Problem("is not UTF-8"), lines.offset)


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def _raw(lines: Sequence[bytes]) -> str:
    """The lines as they stand in the file, without the last one's end."""
    return stripped(b"".join(lines)).decode("utf-8", "replace")


def _is_utf8(line: bytes) -> bool:
    if line.isascii():
        return True
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
