"""TSV as it is written in the field: what stands between two tabs is the value, quotes included."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa

from onnxpress.errors import ConfigError
from onnxpress.scoring.values import csv_texts

__all__ = ["is_unwritable", "require_writable_names", "unwritable_rows"]

_UNWRITABLE: Final = re.compile("[\t\r\n]")


def is_unwritable(value: str) -> bool:
    """Whether `value` holds a tab or a line break, which would begin another field or row."""
    return _UNWRITABLE.search(value) is not None


def unwritable_rows(batch: pa.RecordBatch) -> Iterator[tuple[int, str]]:
    """The index of each row that plain TSV cannot hold, and the name of its first column that it cannot."""
    found: dict[int, str] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if _may_hold_text(column.type):
            for row, text in enumerate(csv_texts(column)):
                if text is not None and is_unwritable(text):
                    found.setdefault(row, name)
    yield from sorted(found.items())


def _may_hold_text(kind: pa.DataType) -> bool:
    """Whether a value of `kind` may be written as text of its own: not numbers, nor JSON, which escapes breaks."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind in (pa.string(), pa.large_string(), pa.string_view())


def require_writable_names(names: Iterable[str], output: str) -> None:
    """Raise ConfigError when the header of `output` cannot be written."""
    for name in names:
        if is_unwritable(name):
            raise ConfigError(
                f"{output}: the column {name!r} has a tab or a line break in its name, which plain TSV cannot hold. "
                "Pass --quoted-tsv (quoted_tsv=True), or write CSV."
            )
