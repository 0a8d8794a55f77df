"""What travels from the readers to the writers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from onnxpress.inputs.encoder import Text

__all__ = ["Carried", "Chunk", "PartEnd", "Position", "Problem", "Unscored"]

Carried: TypeAlias = Any
"""Rows as they were read: a pyarrow.RecordBatch, or a list of the JSON objects of JSONL that is written to JSONL."""


class Position(msgspec.Struct, frozen=True):
    """A place between two rows of the input.

    Attributes:
        file: Index of the file.
        offset: Where the next row begins in it: bytes once decompressed, or rows of a Parquet file.
        row: Rows of the file before it.
    """

    file: int = 0
    offset: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row cannot be scored; `raw` is what was read, where it could not be taken apart into columns."""

    reason: str
    raw: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive rows of one file, classified together.

    Attributes:
        start, end: Where they lie.
        texts: What to classify, by row; None where `problems` says why there is none.
        carried: The rows.
        problems: What was found wrong while reading, by index into the rows.
        share: Share of the whole input that is read after them; None where its size is not known.
        lines: Lines that they are made of; their number where the format has no lines.
        ends_cell: Whether a part may end behind them.
    """

    start: Position
    end: Position
    texts: list[Text | None]
    carried: Carried
    problems: dict[int, Problem]
    share: float | None
    lines: int
    ends_cell: bool = True


@dataclass(frozen=True, slots=True)
class Unscored:
    """A checked chunk of the part with the index `part`.

    Attributes:
        kept: Indices of the rows that are classified.
        texts: Those rows' texts.
        problems: Every row that is not, by index.
    """

    part: int
    chunk: Chunk
    kept: list[int]
    texts: list[Text]
    problems: dict[int, Problem]


@dataclass(frozen=True, slots=True)
class PartEnd:
    """After the last chunk of a part."""

    part: int
    start: Position
    end: Position
