"""The columns of the input, which all of its files share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, cast

import msgspec
import pyarrow as pa

from onnxpress.errors import ConfigError
from onnxpress.scoring.csv_rows import Dialect, csv_header
from onnxpress.scoring.files import InputFile, open_file, open_stream
from onnxpress.scoring.jsonl_rows import JsonRow, infer_fields, jsonl_rows
from onnxpress.scoring.options import Format, format_of
from onnxpress.scoring.parquet_rows import open_parquet
from onnxpress.scoring.rows import Position
from onnxpress.scoring.text_rows import Lines, cut_rows

__all__ = ["CHUNK_BYTES", "CHUNK_ROWS", "Layout", "dialect_of", "input_format", "read_layout", "reading", "unified"]

CHUNK_BYTES: Final = 16 * 2**20
CHUNK_ROWS: Final = 4_096


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


def dialect_of(kind: Format, quoted_tsv: bool) -> Dialect:
    """How the fields of `kind`, CSV or TSV, are told apart."""
    return Dialect("\t", quoted_tsv) if kind == "tsv" else Dialect(",", True)


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
    files: Sequence[InputFile],
    kind: Format,
    *,
    text_column: str,
    pair_column: str | None,
    keep_objects: bool,
    quoted_tsv: bool,
) -> Layout:
    """The columns that all `files` share.

    Reads headers and footers; of JSONL every row, since any may bring another member.

    Args:
        files: What is read.
        kind: Their format.
        text_column: What must be among the columns, once; `pair_column` too. Plain text has one of this name.
        pair_column: The other text of a pair; None without one.
        keep_objects: Whether JSON objects are carried as they are, without types.
        quoted_tsv: Whether TSV is quoted as CSV is.

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
    if kind == "txt":
        schema = pa.schema([(text_column, pa.string())])
    else:
        schema = _shared(files, [_schema_of(file.name, kind, quoted_tsv) for file in files])
    for name in wanted:
        if schema.names.count(name) != 1:
            raise ConfigError(_missing(files[0].name, name, schema.names))
        column = schema.field(name).type
        if not _is_text(column):
            raise ConfigError(f"{files[0].name}: the column {name!r} holds {column}, not text.")
    return Layout(names=tuple(schema.names), schema=schema.serialize().to_pybytes())


def unified(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds the values of both: of null and another the other, of numbers the wider, of text the larger.

    Raises:
        pyarrow.ArrowException: There is none.
    """
    if one == other:
        return one
    one, other = ((kind.value_type if pa.types.is_dictionary(kind) else kind) for kind in (one, other))
    if {one, other} <= {pa.string(), pa.large_string(), pa.string_view()} and one != other:
        return pa.large_string()
    schemas = [pa.schema([("value", kind)]) for kind in (one, other)]
    found = pa.unify_schemas(schemas, promote_options="permissive").field("value").type
    if pa.types.is_binary(found) and pa.types.is_string(one) != pa.types.is_string(other):
        raise pa.ArrowTypeError("text and bytes are no shared type")
    return found


@contextmanager
def reading(name: str) -> Iterator[BinaryIO]:
    """The open file `name`; what is wrong with its content is told with its name."""
    try:
        with open_file(name) as file:
            yield file
    except (pa.ArrowException, EOFError, OSError) as error:
        raise ConfigError(f"{name}: cannot be read ({error}).") from error


def _shared(files: Sequence[InputFile], schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The schema that holds the rows of all `files`, with the metadata of the first."""
    first = schemas[0]
    fields = list(first)
    for file, schema in zip(files, schemas, strict=True):
        if schema.names != first.names:
            other = next((name for name in schema.names if name not in first.names), None)
            told = "some are missing, or in another order" if other is None else f"{other!r} is not among them"
            raise ConfigError(f"{file.name}: its columns are not those of {files[0].name} ({told}).")
        for index, (field, found) in enumerate(zip(fields, schema, strict=True)):
            try:
                kind = unified(field.type, found.type)
            except pa.ArrowException as error:
                raise ConfigError(
                    f"{file.name}: its columns are not those of {files[0].name} "
                    f"({found.name!r} holds {found.type}, not {field.type})."
                ) from error
            fields[index] = field.with_type(kind).with_nullable(field.nullable or found.nullable)
    return pa.schema(fields, metadata=first.metadata)


def _missing(file: str, name: str, names: Sequence[str]) -> str:
    return (
        f"{file}: {names.count(name)} columns are named {name!r}; it has {', '.join(map(repr, names[:10]))}. "
        "Pass --text-column or --pair-column (text_column=)."
    )


def _schema_of(name: str, kind: Format, quoted_tsv: bool) -> pa.Schema:
    with reading(name) as file:
        if kind == "parquet":
            return open_parquet(file).schema_arrow
        with open_stream(file, name) as stream:
            header = csv_header(Lines(stream, name, 0), name, dialect_of(kind, quoted_tsv))
            return pa.schema([(column, pa.string()) for column in header])


def _jsonl_layout(files: Sequence[InputFile], keep_objects: bool) -> Layout:
    if keep_objects:
        names = dict.fromkeys(name for block in _blocks(files) for members in block for name in members)
        return Layout(names=tuple(names), schema=None)
    fields = infer_fields(_blocks(files))
    return Layout(names=tuple(fields), schema=pa.schema(list(fields.items())).serialize().to_pybytes())


def _blocks(files: Sequence[InputFile]) -> Iterator[list[dict[str, Any]]]:
    for file in files:
        with reading(file.name) as raw, open_stream(raw, file.name) as stream:
            rows = jsonl_rows(stream, file.name, 0)
            for run in cut_rows(rows, Position(), chunk_rows=CHUNK_ROWS, chunk_bytes=CHUNK_BYTES):
                yield [cast("JsonRow", row.values).members for row in run.rows if row.values]


def _is_text(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return isinstance(kind, pa.JsonType)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    is_view = kind in (pa.string_view(), pa.binary_view())
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or is_bytes or is_view)
