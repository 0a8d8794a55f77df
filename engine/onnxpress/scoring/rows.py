"""Some rows of the input, with all their columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BadRow", "Part", "texts_of"]


class BadRow(msgspec.Struct, frozen=True):
    """A row that cannot be classified.

    Attributes:
        file: Name of its file.
        row: Its number in the file, from 1; a header is no row.
        reason: Why not.
    """

    file: str
    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are scored and committed together.

    Attributes:
        number: From 0.
        table: All their columns.
        files: The file of each row, by index into the input's files.
        rows: The number of each row in its file, from 1.
        broken: Why a row could not even be read, by its place in the part.
    """

    number: int
    table: pa.Table
    files: Sequence[int]
    rows: Sequence[int]
    broken: Mapping[int, str]


def texts_of(
    part: Part, text_column: str, pair_column: str | None, reject: Callable[[Sequence[Any]], Mapping[int, str]]
) -> tuple[list[Any], dict[int, str]]:
    """The texts of `part`, and why those that cannot be classified cannot, by place; an empty text in their place.

    Args:
        part: The rows.
        text_column: The column of texts.
        pair_column: The column of second texts, if they are pairs.
        reject: Says which of some texts cannot be classified, by place.
    """
    columns = [part.table.column(text_column).to_pylist()]
    if pair_column is not None:
        columns.append(part.table.column(pair_column).to_pylist())
    bad = dict(part.broken)
    texts: list[Any] = []
    for place, values in enumerate(zip(*columns, strict=True)):
        if place not in bad and (wrong := next((v for v in values if not isinstance(v, str)), "")) != "":
            bad[place] = "the text is null" if wrong is None else f"the text is of type {type(wrong).__name__}"
        texts.append("" if place in bad else values if pair_column is not None else values[0])
    for place, reason in reject(texts).items():
        bad.setdefault(place, reason)
        texts[place] = ""
    return texts, bad
