"""Files of example texts, with or without their right labels."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from onnxpress.encoder import Text
from onnxpress.errors import ConfigError, MissingDependencyError

__all__ = ["Example", "read_examples", "read_texts"]

_MAX_FIELD: Final = 100 * 2**20


class Example(msgspec.Struct, frozen=True):
    """A text, or a sentence pair, and its right label where it is known.

    As files give it, see `onnxpress.sample_labels` for what the model makes of it: a text, or several of them.
    """

    text: Text
    label: str | tuple[str, ...] | tuple[float, ...] | None = None


class _Row(msgspec.Struct):
    text: str
    text_pair: str | None = None
    label: str | bool | int | float | list[str | bool | int | float] | None = None


def read_examples(path: Path) -> list[Example]:
    """The examples in `path`, in order.

    .jsonl, .csv, .tsv and .parquet files have a field `text`, and may have `text_pair` and `label`; any other file
    holds a text on each line of UTF-8.

    Raises:
        ConfigError: The file is missing, holds no text, or a row that cannot be read.
        MissingDependencyError: A .parquet file, and pyarrow is not installed.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. Pass a text file, or .jsonl, .csv or .parquet with a field `text`.")
    examples: list[Example] = []
    rows = iter(_READERS.get(path.suffix.lower(), _read_lines)(path))
    while True:
        try:
            row = next(rows, None)
        except (msgspec.DecodeError, UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(f"{path}: row {len(examples) + 1}: {error}. Each row must hold one text.") from error
        if row is None:
            break
        text = row.text if row.text_pair is None else (row.text, row.text_pair)
        examples.append(Example(text, _label(row.label)))
    if not examples:
        raise ConfigError(f"{path}: holds no text.")
    return examples


def _label(found: object) -> str | tuple[str, ...] | None:
    """A label as text; None for what tables leave empty."""
    if isinstance(found, list):
        return tuple(_label(one) or "" for one in found)  # type: ignore[misc]  # no list in a list
    if found in (None, "") or found != found:
        return None
    return str(found).lower() if isinstance(found, bool) else str(found)


def read_texts(path: Path) -> list[str]:
    """The texts of `read_examples`, which must be single ones.

    Raises:
        ConfigError: As `read_examples`; or a row is a sentence pair.
    """
    texts = [example.text for example in read_examples(path)]
    if pairs := sum(isinstance(text, tuple) for text in texts):
        raise ConfigError(f"{path}: {pairs:,} rows are sentence pairs; only single texts are taken here.")
    return [text for text in texts if isinstance(text, str)]


def _read_lines(path: Path) -> Iterator[_Row]:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield _Row(line.decode("utf-8").rstrip("\r\n"))


def _read_jsonl(path: Path) -> Iterator[_Row]:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield msgspec.json.decode(line, type=_Row)


def _read_csv(path: Path) -> Iterator[_Row]:
    csv.field_size_limit(_MAX_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","):
            yield msgspec.convert({key: row[key] for key in row.keys() & set(_Row.__struct_fields__)}, type=_Row)


def _read_parquet(path: Path) -> Iterable[_Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingDependencyError("pyarrow", ("score",)) from error
    try:
        file = parquet.ParquetFile(path)
        columns = [name for name in file.schema_arrow.names if name in _Row.__struct_fields__]
        table: list[dict[str, Any]] = file.read(columns=columns).to_pylist()
    except ArrowException as error:
        raise ConfigError(f"{path}: is no Parquet file that can be read ({error}).") from error
    return (msgspec.convert(row, type=_Row) for row in table)


_READERS: Final = {
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}
