"""Files of example texts, with or without their right labels."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from onnxpress.errors import ConfigError, MissingDependencyError
from onnxpress.inputs.encoder import Text
from onnxpress.scoring.csv_rows import Dialect, csv_header, csv_rows
from onnxpress.scoring.json_text import decode_json
from onnxpress.scoring.options import Compression, Format, format_of
from onnxpress.scoring.text_rows import Lines, stripped

__all__ = ["Example", "read_examples", "read_texts"]


class Example(msgspec.Struct, frozen=True):
    """A text, or a sentence pair, and its right label where it is known.

    As files give it, see `onnxpress.answers.sample_labels` for what the model makes of it: a text, or several of them.
    """

    text: Text
    label: str | tuple[str, ...] | tuple[float, ...] | None = None


class _Row(msgspec.Struct):
    text: str
    text_pair: str | None = None
    label: str | bool | int | float | list[str | bool | int | float] | None = None


def read_examples(path: Path) -> list[Example]:
    """The examples in `path`, in order.

    Its name tells the format, as for scoring: .jsonl, .csv, .tsv (also .gz and .zst) and .parquet files have a field
    `text`, and may have `text_pair` and `label`; any other file holds a text on each line of UTF-8. A label may be a
    number, which becomes text.

    Raises:
        ConfigError: The file is missing, holds no text, or a row that cannot be read.
        MissingDependencyError: A .parquet or .zst file, and pyarrow is not installed.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. Pass a text file, or .jsonl, .csv or .parquet with a field `text`.")
    kind, compression = format_of(path.name)
    read = _read_parquet if kind == "parquet" else partial(_read_stream, kind=kind, compression=compression)
    examples: list[Example] = []
    rows = iter(read(path))
    while True:
        try:
            row = next(rows, None)
        except ConfigError:
            raise
        except (ValueError, RecursionError, EOFError, OSError) as error:
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


def _read_stream(path: Path, kind: Format | None, compression: Compression | None) -> Iterator[_Row]:
    with _opened(path, compression) as stream:
        lines = Lines(stream, str(path), 0)
        if kind in ("csv", "tsv"):
            yield from _read_table(lines, str(path), Dialect("\t", False) if kind == "tsv" else Dialect(",", True))
            return
        for line in lines:
            lines.forget()
            if line.strip():
                yield _convert(decode_json(line)) if kind == "jsonl" else _Row(stripped(line).decode("utf-8"))


def _read_table(lines: Lines, name: str, dialect: Dialect) -> Iterator[_Row]:
    header = csv_header(lines, name, dialect)
    for row in csv_rows(lines, dialect, len(header)):
        if row.problem is not None:
            raise ValueError(row.problem.reason)
        yield _convert(dict(zip(header, cast("list[str]", row.values), strict=True)))


def _convert(values: Any) -> _Row:
    """The row that an object or the fields of a table are; other members than a row's are passed over."""
    return msgspec.convert(values, type=_Row)


def _opened(path: Path, compression: Compression | None) -> AbstractContextManager[BinaryIO]:
    if compression is None:
        return path.open("rb")
    if compression == "gzip":
        return cast("AbstractContextManager[BinaryIO]", gzip.open(path, "rb"))
    try:
        import pyarrow
    except ImportError as error:
        raise MissingDependencyError("pyarrow", ("score",)) from error
    stream = pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), compression)
    return cast("AbstractContextManager[BinaryIO]", BufferedReader(stream))


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
    return map(_convert, table)
