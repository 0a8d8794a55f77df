"""Input and output formats, by the ends of file names."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any, Final, Literal, cast

import msgspec

from onnxpress.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Format", "Kind", "format_of", "import_pyarrow", "open_compressed", "read_tables", "table_bytes"]

Kind = Literal["csv", "tsv", "jsonl", "parquet"]

_KINDS: Final[dict[str, Kind]] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd"}
_BLOCK: Final = 2**20
_LARGEST_BLOCK: Final = 2**30


class Format(msgspec.Struct, frozen=True):
    """How a file is written: its kind, and the compression around it."""

    kind: Kind
    compression: str | None = None


def format_of(name: str) -> Format:
    """The format that the file `name` says.

    Raises:
        ConfigError: It says none.
    """
    suffixes = [suffix.lower() for suffix in PurePath(name).suffixes]
    compression = _COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    kind = _KINDS.get(suffixes[-2 if compression and len(suffixes) > 1 else -1]) if suffixes else None
    if kind is None or (compression and kind == "parquet"):
        raise ConfigError(
            f"{name}: the end of the name must be .csv, .tsv, .jsonl (each also with .gz or .zst) or .parquet."
        )
    return Format(kind, compression)


def import_pyarrow() -> Any:
    """The pyarrow module with its readers and writers.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError("pyarrow", ("score",)) from error
    return pyarrow


@contextmanager
def open_compressed(path: Path, compression: str | None, mode: Literal["rb", "wb"]) -> Iterator[IO[bytes]]:
    """Open `path`, decompressed or to be compressed; what is written bears no time stamp."""
    if compression == "gzip":
        import gzip

        with (
            path.open(mode) as raw,
            gzip.GzipFile(filename="", mode=mode, fileobj=raw, mtime=0, compresslevel=6) as file,
        ):
            yield cast(IO[bytes], file)
    elif compression == "zstd":
        pa = import_pyarrow()
        stream = pa.CompressedInputStream if mode == "rb" else pa.CompressedOutputStream
        with path.open(mode) as raw, stream(pa.PythonFile(raw, mode=mode[0]), "zstd") as file:
            yield io.BufferedReader(file) if mode == "rb" else file  # which reads lines too
    else:
        with path.open(mode) as file:
            yield file


def read_tables(path: Path, form: Format) -> Iterator[tuple[pa.Table, dict[int, str]]]:
    """The rows of the file `path`, some at a time, and why some could not be read, by their place.

    CSV columns are text, whatever is in them, so that they come out as they went in. JSON lines are kept as they are,
    in a column `line` beside the fields that are asked for.

    Raises:
        ConfigError: The file is not what its name says.
    """
    pa = import_pyarrow()
    try:
        yield from _READERS[form.kind](pa, path, form)
    except (pa.ArrowException, UnicodeDecodeError, EOFError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, pa.ArrowException) and error.errno is not None:
            raise
        raise ConfigError(f"{path}: cannot be read as {form.kind} ({' '.join(str(error).split())[:200]}).") from error


def _read_parquet(pa: Any, path: Path, form: Format) -> Iterator[tuple[pa.Table, dict[int, str]]]:
    with pa.parquet.ParquetFile(path, pre_buffer=False) as file:
        _require_different(path, file.schema_arrow.names)
        empty = True
        for batch in file.iter_batches(batch_size=4_096):
            empty = False
            yield pa.Table.from_batches([batch]), {}
        if empty:
            yield file.schema_arrow.empty_table(), {}


def _read_csv(pa: Any, path: Path, form: Format) -> Iterator[tuple[pa.Table, dict[int, str]]]:
    delimiter = "\t" if form.kind == "tsv" else ","
    names = _csv_names(pa, path, form, delimiter)
    if not names:
        raise ConfigError(f"{path}: is empty; its first line must name the columns.")
    _require_different(path, names)
    longest = _longest_line(path, form)
    with open_compressed(path, form.compression, "rb") as raw:
        reader = pa.csv.open_csv(
            pa.PythonFile(raw, mode="r"),
            read_options=pa.csv.ReadOptions(
                block_size=min(max(_BLOCK, 2 * longest), _LARGEST_BLOCK), use_threads=False
            ),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
        with reader:
            yield reader.schema.empty_table(), {}
            for batch in reader:
                yield pa.Table.from_batches([batch]), {}


def _csv_names(pa: Any, path: Path, form: Format, delimiter: str) -> list[str]:
    import csv

    with open_compressed(path, form.compression, "rb") as raw:
        head = io.TextIOWrapper(io.BytesIO(raw.read(_BLOCK)), encoding="utf-8-sig", errors="replace", newline="")
        return next(csv.reader(head, delimiter=delimiter), [])


def _longest_line(path: Path, form: Format) -> int:
    """Bytes of the longest record, at most: pyarrow wants it in one block."""
    if path.stat().st_size < _BLOCK and form.compression is None:
        return _BLOCK
    longest = current = quotes = 0
    with open_compressed(path, form.compression, "rb") as raw:
        while block := raw.read(_BLOCK):
            for line in block.splitlines(keepends=True):
                current += len(line)
                quotes += line.count(b'"')
                if line.endswith(b"\n") and quotes % 2 == 0:
                    longest, current, quotes = max(longest, current), 0, 0
    return max(longest, current)


def _read_jsonl(pa: Any, path: Path, form: Format) -> Iterator[tuple[pa.Table, dict[int, str]]]:
    schema = pa.schema([("line", pa.binary())])
    yield schema.empty_table(), {}
    lines: list[bytes] = []
    with open_compressed(path, form.compression, "rb") as raw:
        for line in raw:
            if line.strip():
                lines.append(line.rstrip(b"\r\n"))
            if len(lines) == 4_096:
                yield pa.table({"line": lines}, schema=schema), {}
                lines = []
    if lines:
        yield pa.table({"line": lines}, schema=schema), {}


def _require_different(path: Path, names: list[str]) -> None:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path}: the column {repeated[0]!r} occurs {names.count(repeated[0])} times. Rename one.")


def table_bytes(table: pa.Table, kind: Kind) -> bytes:
    """`table` as the bytes of a part: a CSV without its header, or an Arrow file where Parquet will be written."""
    pa = import_pyarrow()
    sink = pa.BufferOutputStream()
    if kind == "parquet":
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        table = table.combine_chunks()  # with an empty first chunk, pyarrow 26 writes other bytes than there are
        options = pa.csv.WriteOptions(include_header=False, delimiter="\t" if kind == "tsv" else ",")
        pa.csv.write_csv(table, sink, options)
    content: bytes = sink.getvalue().to_pybytes()
    return content


_READERS: Final[dict[Kind, Any]] = {"csv": _read_csv, "tsv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}
