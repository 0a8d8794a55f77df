"""The input as chunks of rows, from any place in it, however many files it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

import msgspec
import pyarrow as pa

from onnxpress.errors import ConfigError
from onnxpress.inputs.encoder import Text
from onnxpress.scoring.csv_rows import csv_header, csv_rows, is_counted
from onnxpress.scoring.files import InputFile, open_stream
from onnxpress.scoring.jsonl_rows import JsonRow, json_batch, jsonl_rows
from onnxpress.scoring.layout import CHUNK_BYTES, CHUNK_ROWS, Layout, dialect_of, reading
from onnxpress.scoring.line_rows import line_rows
from onnxpress.scoring.options import Format
from onnxpress.scoring.parquet_rows import open_parquet, parquet_cells, parquet_chunks
from onnxpress.scoring.rows import Carried, Chunk, Position, Problem
from onnxpress.scoring.text_rows import Lines, Row, Run, cut_rows

__all__ = ["Source"]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """An input, every file of which has one format and one layout.

    Attributes:
        files: Its files, in order.
        format: Theirs.
        layout: Their columns.
        text_column: What is classified.
        pair_column: The other text of a pair; None without one.
        quoted_tsv: Whether TSV is quoted as CSV is.
    """

    files: tuple[InputFile, ...]
    format: Format
    layout: Layout
    text_column: str
    pair_column: str | None
    quoted_tsv: bool

    def chunks(self, start: Position) -> Iterator[Chunk]:
        """The rows after `start`, the end of another chunk or the beginning; a chunk never spans two files."""
        for index, begin in self._from(start):
            with reading(self.files[index].name) as file:
                if self.format == "parquet":
                    yield from self._parquet_chunks(file, begin)
                else:
                    for run in self._runs(file, begin):
                        yield self._text_chunk(run, self._share(index, _told(file)))

    def spans(self, start: Position) -> Iterator[tuple[Position, Position]]:
        """Where a part may begin and end, as `chunks` tells by `ends_cell`; of Parquet, only the footers are read."""
        for index, begin in self._from(start):
            with reading(self.files[index].name) as file:
                if self.format != "parquet":
                    for run in self._runs(file, begin):
                        yield run.start, run.end
                    continue
                total = open_parquet(file).metadata.num_rows
                for first, end in parquet_cells(total, begin.offset, CHUNK_ROWS):
                    yield Position(index, first, first), Position(index, end, end)

    def count(self, index: int) -> int:
        """Rows of the Parquet file with that `index`; of another the lines that its rows are made of."""
        name = self.files[index].name
        with reading(name) as file:
            if self.format == "parquet":
                return int(open_parquet(file).metadata.num_rows)
            with open_stream(file, name) as stream:
                lines = Lines(stream, name, 0)
                if self.format in ("csv", "tsv"):
                    csv_header(lines, name, dialect_of(self.format, self.quoted_tsv))
                width = len(self.layout.names)
                count = 0
                for line in lines:
                    lines.forget()
                    count += bool(line.strip()) if self.format == "jsonl" else is_counted(line, width)
                return count

    def _from(self, start: Position) -> Iterator[tuple[int, Position]]:
        for index in range(start.file, len(self.files)):
            yield index, start if index == start.file else Position(file=index)

    def _runs(self, file: BinaryIO, start: Position) -> Iterator[Run]:
        name = self.files[start.file].name
        with open_stream(file, name) as stream:
            rows = self._rows(stream, name, start.offset)
            yield from cut_rows(rows, start, chunk_rows=CHUNK_ROWS, chunk_bytes=CHUNK_BYTES)

    def _rows(self, stream: BinaryIO, name: str, offset: int) -> Iterator[Row]:
        if self.format == "jsonl":
            return jsonl_rows(stream, name, offset)
        lines = Lines(stream, name, offset)
        if self.format == "txt":
            return line_rows(lines)
        dialect = dialect_of(self.format, self.quoted_tsv)
        if offset == 0:
            csv_header(lines, name, dialect)
        return csv_rows(lines, dialect, len(self.layout.names))

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
            carried = _text_batch(run.rows, self.layout.arrow())
            first = carried.column(self.layout.names.index(self.text_column)).to_pylist()
            second = carried.column(self.layout.names.index(self.pair_column)).to_pylist() if self.pair_column else None
        return Chunk(
            start=run.start,
            end=run.end,
            texts=self._texts(first, second, problems),
            carried=carried,
            problems=problems,
            share=share,
            lines=sum(row.lines for row in run.rows),
        )

    def _parquet_chunks(self, file: BinaryIO, start: Position) -> Iterator[Chunk]:
        opened, schema, name = open_parquet(file), self.layout.arrow(), self.files[start.file].name
        for rows, begin, end, ends_cell in parquet_chunks(
            opened, start.offset, cell_rows=CHUNK_ROWS, chunk_bytes=CHUNK_BYTES
        ):
            batch = _fitted(rows, schema, f"{name}: rows {begin + 1:,} to {end:,}")
            problems: dict[int, Problem] = {}
            first = self._column(batch, self.text_column, problems)
            second = self._column(batch, self.pair_column, problems) if self.pair_column else None
            yield Chunk(
                start=Position(start.file, begin, begin),
                end=Position(start.file, end, end),
                texts=self._texts(first, second, problems),
                carried=batch,
                problems=problems,
                share=self._share(start.file, int(end / opened.metadata.num_rows * self.files[start.file].bytes)),
                lines=len(batch),
                ends_cell=ends_cell,
            )

    def _column(self, batch: pa.RecordBatch, name: str, problems: dict[int, Problem]) -> list[Any]:
        column = batch.column(self.layout.names.index(name))
        if isinstance(column.type, pa.BaseExtensionType):
            column = column.storage
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if not _is_binary(column.type):
            try:
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


def _text_batch(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    """The rows as columns of text; a row that could not be read is all null."""
    values = [cast("list[str] | None", row.values) or (None,) * len(schema) for row in rows]
    columns = zip(*values, strict=True) if values else ((),) * len(schema)
    return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], schema=schema)


def _fitted(batch: pa.RecordBatch, schema: pa.Schema, rows: str) -> pa.RecordBatch:
    """The batch with the types that all files share.

    Raises:
        ConfigError: A value does not fit; names `rows`.
    """
    columns = []
    for column, field in zip(batch.columns, schema, strict=True):
        try:
            columns.append(column if column.type == field.type else _cast(column, field.type))
        except pa.ArrowException as error:
            raise ConfigError(
                f"{rows}: column {field.name!r} has a value that does not fit {field.type}, the type that the files "
                f"share ({error}). Score the files apart."
            ) from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    return pa.nulls(len(column), kind) if pa.types.is_null(column.type) else column.cast(kind)


def _told(file: BinaryIO) -> int | None:
    return file.tell() if file.seekable() else None


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or kind == pa.binary_view()
    )
