"""The input: files in order, cut into parts of a fixed number of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from onnxpress.errors import ConfigError
from onnxpress.scoring.formats import Format, format_of, import_pyarrow, read_tables
from onnxpress.scoring.rows import Part

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LINE", "InputFile", "find_files", "fingerprint", "read_parts"]

LINE: Final = "line"
"""The column that holds a line of JSON as it is."""

_SAMPLE: Final = 2**16


class InputFile(msgspec.Struct, frozen=True):
    """A file to score, and how to read it."""

    path: Path
    form: Format


def find_files(source: str) -> list[InputFile]:
    """The files that `source` names: one, those of a directory, or of a pattern; in the order of their names.

    Raises:
        ConfigError: There is none, or they are of different kinds.
    """
    path = Path(source)
    if path.is_dir():
        found = [child for child in path.iterdir() if child.is_file() and not child.name.startswith((".", "_"))]
    elif has_magic(source) and not path.exists():
        found = [Path(name) for name in glob(source, recursive=True) if Path(name).is_file()]
    else:
        found = [path] if path.is_file() else []
    if not found:
        raise ConfigError(f"{source}: no such file. Name a file, a directory of files, or a pattern in quotes.")
    files = [InputFile(child, format_of(child.name)) for child in sorted(found)]
    kinds = sorted({file.form.kind for file in files})
    if len(kinds) > 1:
        raise ConfigError(f"{source}: holds {' and '.join(kinds)} files. Score one kind at a time.")
    return files


def fingerprint(files: Sequence[InputFile]) -> str:
    """A hash of the files' names, sizes, times of change, and first and last bytes: another when one has changed."""
    digest = sha256()
    for file in files:
        status = file.path.stat()
        digest.update(f"{file.path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        with file.path.open("rb") as content:
            digest.update(content.read(_SAMPLE))
            content.seek(max(0, status.st_size - _SAMPLE))
            digest.update(content.read(_SAMPLE))
    return digest.hexdigest()


def read_parts(files: Sequence[InputFile], size: int, text_columns: Sequence[str]) -> Iterator[Part]:
    """The rows of `files` in order, `size` at a time, the last part with what is left; at least one part.

    Raises:
        ConfigError: A file cannot be read, lacks a text column, or has other columns than the first.
    """
    pa = import_pyarrow()
    tables: list[Any] = []
    places: list[tuple[int, int]] = []
    broken: dict[int, str] = {}
    number, schema = 0, None
    for index, file in enumerate(files):
        row = 0
        for content, problems in read_tables(file.path, file.form):
            table, unread = (content, problems) if file.form.kind != "jsonl" else _with_fields(content, text_columns)
            _require_columns(file, table, text_columns)
            schema = schema or table.schema
            if not table.schema.equals(schema):
                raise ConfigError(
                    f"{file.path}: its columns are not those of {files[0].path.name}. Score it by itself."
                )
            broken |= {len(places) + place: reason for place, reason in unread.items()}
            tables.append(table)
            places += [(index, row + offset + 1) for offset in range(table.num_rows)]
            row += table.num_rows
            while len(places) >= size:
                whole = pa.concat_tables(tables)
                yield _part(number, whole.slice(0, size), places[:size], broken)
                tables, places = [whole.slice(size)], places[size:]
                broken = {place - size: reason for place, reason in broken.items() if place >= size}
                number += 1
    if places or not number:
        yield _part(number, pa.concat_tables(tables), places, broken)


def _part(number: int, table: pa.Table, places: Sequence[tuple[int, int]], broken: dict[int, str]) -> Part:
    kept = {place: reason for place, reason in broken.items() if place < len(places)}
    return Part(number, table, [file for file, _ in places], [row for _, row in places], kept)


def _require_columns(file: InputFile, table: pa.Table, wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in table.column_names:
            held = ", ".join(table.column_names[:10]) or "none"
            raise ConfigError(f"{file.path}: has no column {name!r} (it has {held}). Name it by --text-column.")


def _with_fields(lines: pa.Table, names: Sequence[str]) -> tuple[pa.Table, dict[int, str]]:
    """Lines of JSON with the fields `names` as columns of text, and why a line has none, by place."""
    pa = import_pyarrow()
    columns: dict[str, list[str | None]] = {name: [] for name in names}
    broken: dict[int, str] = {}
    for place, line in enumerate(lines.column(LINE).to_pylist()):
        values, problem = _fields(line, names)
        if problem:
            broken[place] = problem
        for name, value in zip(names, values, strict=True):
            columns[name].append(value)
    for name, column in columns.items():
        lines = lines.append_column(name, pa.array(column, pa.string()))
    return lines, broken


def _fields(line: bytes, names: Sequence[str]) -> tuple[list[str | None], str]:
    nothing: list[str | None] = [None] * len(names)
    try:
        found: Any = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return nothing, f"the line is not JSON ({error})"
    if not isinstance(found, dict):
        return nothing, "the line is no JSON object"
    for name in names:
        if not isinstance(value := found.get(name), str):
            if value is None:
                return nothing, f"the field {name!r} is {'null' if name in found else 'missing'}"
            return nothing, f"the field {name!r} is of type {type(value).__name__}"
    return [found[name] for name in names], ""
