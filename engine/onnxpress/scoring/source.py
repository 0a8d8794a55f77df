"""The input as chunks of rows, from any place in it, however many files it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, BinaryIO, Final, cast

import msgspec
import pyarrow as pa

from onnxpress.encoder import Text
from onnxpress.errors import ConfigError
from onnxpress.scoring.csv_rows import csv_batch, csv_header, csv_rows
from onnxpress.scoring.files import InputFile, open_file, open_stream
from onnxpress.scoring.jsonl_rows import JsonRow, infer_fields, json_batch, jsonl_rows
from onnxpress.scoring.options import Format, format_of
from onnxpress.scoring.parquet_rows import open_parquet, parquet_batches, parquet_chunk_rows
from onnxpress.scoring.rows import Carried, Chunk, Position, Problem
from onnxpress.scoring.text_rows import Row, Run, cut_rows

__all__ = ["CHUNK_ROWS", "Layout", "Source", "input_format", "read_layout"]

CHUNK_ROWS: Final = 4_096

_CHUNK_BYTES: Final = 16 * 2**20
_INFERRED_ROWS: Final = 4_096
_DELIMITERS: Final[dict[Format, str]] = {"csv": ",", "tsv": "\t"}


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of the input.

    Attributes:
        names: Their names, in order.
        schema: Their types, as pyarrow serializes them; None where JSON objects are carried as they are.
    """

    names: tuple[str, ...]
    schema: bytes | None

    def arrow(self) -> pa.Schema:
        """The types."""
        return pa.ipc.read_schema(pa.py_buffer(self.schema))


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """An input, every file of which has one format and one layout."""

    files: tuple[InputFile, ...]
    format: Format
    layout: Layout
    text_column: str
    pair_column: str | None

    def chunks(self, start: Position) -> Iterator[Chunk]:
        """The rows after `start`, the end of another chunk or the beginning; a chunk never spans two files."""
        for index, begin in self._from(start):
            with _reading(self.files[index].name) as file:
                if self.format == "parquet":
                    yield from self._parquet_chunks(file, begin)
                else:
                    for run in self._runs(file, begin):
                        yield self._text_chunk(run, self._share(index, _told(file)))

    def spans(self, start: Position) -> Iterator[tuple[Position, Position]]:
        """Where the chunks of `chunks` begin and end; of Parquet, only the footers are read."""
        for index, begin in self._from(start):
            with _reading(self.files[index].name) as file:
                if self.format != "parquet":
                    for run in self._runs(file, begin):
                        yield run.start, run.end
                    continue
                opened = open_parquet(file)
                rows = _parquet_step(opened)
                while begin.offset < opened.metadata.num_rows:
                    end = _parquet_end(begin, min(rows, opened.metadata.num_rows - begin.offset))
                    yield begin, end
                    begin = end

    def _from(self, start: Position) -> Iterator[tuple[int, Position]]:
        for index in range(start.file, len(self.files)):
            yield index, start if index == start.file else Position(file=index)

    def _runs(self, file: BinaryIO, start: Position) -> Iterator[Run]:
        name = self.files[start.file].name
        with open_stream(file, name) as stream:
            if self.format == "jsonl":
                rows: Iterator[Row] = jsonl_rows(stream, name, start.offset)
            else:
                width = len(self.layout.names)
                rows = csv_rows(stream, name, _DELIMITERS[self.format], width, start.offset)
            yield from cut_rows(rows, start, chunk_rows=CHUNK_ROWS, chunk_bytes=_CHUNK_BYTES)

    def _text_chunk(self, run: Run, share: float | None) -> Chunk:
        problems = {index: row.problem for index, row in enumerate(run.rows) if row.problem is not None}
        if self.format == "jsonl":
            objects = [cast("JsonRow", row.values).members if row.values else {} for row in run.rows]
            for name in (self.text_column, *([self.pair_column] if self.pair_column else [])):
                absent = (index for index, found in enumerate(objects) if name not in found)
                problems = {index: Problem(f"has no {name!r}") for index in absent} | problems
            first = [found.get(self.text_column) for found in objects]
            second = [found.get(self.pair_column) for found in objects] if self.pair_column else None
            carried: Carried
            if self.layout.schema is None:
                carried = [cast("JsonRow", row.values).line if row.values else b"{}" for row in run.rows]
            else:
                carried = json_batch(run.rows, self.layout.arrow(), self.files[run.start.file].name, run.start.row)
        else:
            carried = csv_batch(run.rows, self.layout.arrow())
            first = carried.column(self.layout.names.index(self.text_column)).to_pylist()
            second = carried.column(self.layout.names.index(self.pair_column)).to_pylist() if self.pair_column else None
        return Chunk(run.start, run.end, self._texts(first, second, problems), carried, problems, share)

    def _parquet_chunks(self, file: BinaryIO, start: Position) -> Iterator[Chunk]:
        opened = open_parquet(file)
        for batch in parquet_batches(opened, start, _parquet_step(opened)):
            end = _parquet_end(start, len(batch))
            problems: dict[int, Problem] = {}
            first = self._column(batch, self.text_column, problems)
            second = self._column(batch, self.pair_column, problems) if self.pair_column else None
            texts = self._texts(first, second, problems)
            rows_share = end.row / opened.metadata.num_rows
            share = self._share(start.file, int(rows_share * self.files[start.file].bytes))
            yield Chunk(start, end, texts, batch, problems, share)
            start = end

    def _column(self, batch: pa.RecordBatch, name: str, problems: dict[int, Problem]) -> list[Any]:
        column = batch.column(self.layout.names.index(name))
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        try:
            if not _is_binary(column.type):
                return cast("list[Any]", column.to_pylist())
        except UnicodeDecodeError:  # Parquet lets any bytes pass for text
            pass
        texts: list[str | None] = []
        for index, value in enumerate(column.cast(pa.large_binary()).to_pylist()):
            try:
                texts.append(None if value is None else value.decode("utf-8"))
            except UnicodeDecodeError:
                texts.append(None)
                problems[index] = Problem(f"is not UTF-8 in column {name!r}")
        return texts

    def _texts(
        self, first: Sequence[Any], second: Sequence[Any] | None, problems: dict[int, Problem]
    ) -> list[Text | None]:
        """The texts or pairs of rows; adds a problem for each that has none."""
        texts: list[Text | None] = []
        for index, text in enumerate(first):
            pair = second[index] if second is not None else ""
            if index in problems:
                texts.append(None)
            elif text is None or pair is None:
                missing = self.text_column if text is None else self.pair_column
                problems[index] = Problem(f"holds null in column {missing!r}")
                texts.append(None)
            else:
                texts.append(text if second is None else (text, pair))
        return texts

    def _share(self, index: int, read: int | None) -> float | None:
        total = sum(file.bytes for file in self.files)
        if read is None or total == 0:
            return None
        return min(1.0, (sum(file.bytes for file in self.files[:index]) + read) / total)


def input_format(files: Sequence[str], chosen: Format | None) -> Format:
    """The one format of `files`: `chosen`, or what their names tell.

    Raises:
        ConfigError: They tell none, or several.
    """
    if chosen is None:
        told = {format_of(name)[0] for name in files}
        if len(told) > 1 or None in told:
            names = ", ".join(sorted(map(str, told - {None}))) or "no format"
            raise ConfigError(f"{files[0]}: the names of the input tell {names}. Pass --input-format (input_format=).")
        (chosen,) = told
    return cast("Format", chosen)


def read_layout(
    files: Sequence[InputFile], kind: Format, *, text_column: str, pair_column: str | None, keep_objects: bool
) -> Layout:
    """The columns that all `files` share.

    Reads headers and footers; of JSONL every row, since any may bring another member.

    Args:
        files: What is read.
        kind: Their format.
        text_column: What must be among the columns, once; `pair_column` too.
        pair_column: The other text of a pair; None without one.
        keep_objects: Whether JSON objects are carried as they are, without types.

    Raises:
        ConfigError: A file has other columns than the first, or a column to classify is missing or holds no text.
    """
    wanted = (text_column, *([pair_column] if pair_column else []))
    if kind == "jsonl":
        layout = _jsonl_layout(files, keep_objects)
        for name in wanted:
            if layout.names and name not in layout.names:
                raise ConfigError(_missing(files[0].name, name, layout.names))
        return layout
    schemas = [_schema_of(file.name, kind) for file in files]
    for file, schema in zip(files, schemas, strict=True):
        if schema != schemas[0]:
            other = next((f for f in schema if f not in list(schemas[0])), None)
            raise ConfigError(
                f"{file.name}: its columns are not those of {files[0].name} "
                f"({f'{other.name}: {other.type}' if other else 'some are missing, or in another order'})."
            )
    schema = schemas[0]
    for name in wanted:
        if schema.names.count(name) != 1:
            raise ConfigError(_missing(files[0].name, name, schema.names))
        column = schema.field(name).type
        if not _is_text(column):
            raise ConfigError(f"{files[0].name}: the column {name!r} holds {column}, not text.")
    return Layout(names=tuple(schema.names), schema=schema.serialize().to_pybytes())


def _missing(file: str, name: str, names: Sequence[str]) -> str:
    return (
        f"{file}: {names.count(name)} columns are named {name!r}; it has {', '.join(map(repr, names[:10]))}. "
        "Pass --text-column or --pair-column (text_column=)."
    )


def _schema_of(name: str, kind: Format) -> pa.Schema:
    with _reading(name) as file:
        if kind == "parquet":
            return open_parquet(file).schema_arrow
        with open_stream(file, name) as stream:
            return pa.schema([(column, pa.string()) for column in csv_header(stream, name, _DELIMITERS[kind])])


def _jsonl_layout(files: Sequence[InputFile], keep_objects: bool) -> Layout:
    if keep_objects:
        names = dict.fromkeys(name for block in _blocks(files) for members in block for name in members)
        return Layout(names=tuple(names), schema=None)
    fields = infer_fields(_blocks(files))
    return Layout(names=tuple(fields), schema=pa.schema(list(fields.items())).serialize().to_pybytes())


def _blocks(files: Sequence[InputFile]) -> Iterator[list[dict[str, Any]]]:
    for file in files:
        with _reading(file.name) as raw, open_stream(raw, file.name) as stream:
            rows = jsonl_rows(stream, file.name, 0)
            while block := list(islice(rows, _INFERRED_ROWS)):
                yield [cast("JsonRow", row.values).members for row in block if row.values]


@contextmanager
def _reading(name: str) -> Iterator[BinaryIO]:
    """The open file `name`; what is wrong with its content is told with its name."""
    try:
        with open_file(name) as file:
            yield file
    except (pa.ArrowException, EOFError, OSError) as error:
        raise ConfigError(f"{name}: cannot be read ({error}).") from error


def _told(file: BinaryIO) -> int | None:
    return file.tell() if file.seekable() else None


def _parquet_step(opened: Any) -> int:
    return parquet_chunk_rows(opened, chunk_rows=CHUNK_ROWS, chunk_bytes=_CHUNK_BYTES)


def _parquet_end(start: Position, rows: int) -> Position:
    return Position(start.file, start.offset + rows, start.row + rows)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_view = kind in (pa.string_view(), pa.binary_view())
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or _is_binary(kind) or is_view)
