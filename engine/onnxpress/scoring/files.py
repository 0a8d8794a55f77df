"""The input's files: which they are, that they are still the same, and their bytes."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import pyarrow as pa

from onnxpress.errors import ConfigError
from onnxpress.scoring.options import format_of

__all__ = [
    "InputFile",
    "describe_file",
    "find_files",
    "is_url",
    "open_file",
    "open_stream",
    "plain_url",
    "spool",
    "url_exists",
    "url_filesystem",
]

_SAMPLED: Final = 64 * 2**10
_BUFFER: Final = 2**20
_CHANGE_MARKS: Final = ("ETag", "etag", "LastModified", "updated", "mtime", "created")


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a file was when the job began.

    Attributes:
        name: Its path or URL.
        bytes: Its size.
        modified: When it was changed, as its filesystem tells: nanoseconds, or a store's own mark.
        digest: SHA-256 of its first and its last 64 KiB; of standard input, of all.
    """

    name: str
    bytes: int
    modified: str
    digest: str


def is_url(name: str) -> bool:
    """Whether fsspec opens `name`, not the operating system."""
    return "://" in name


def find_files(source: str) -> list[str]:
    """The files that `source` names, in the order in which they are read: a file, a glob, a directory, a URL of these.

    Of a directory, all files at any depth whose names end as a format's do, sorted; names that begin with "." or
    "_" are passed over.

    Raises:
        ConfigError: There are none.
    """
    if is_url(source):
        filesystem, path = url_filesystem(source)
        if filesystem.isdir(path):
            found = _data_files(filesystem.find(path), path)
        else:
            found = filesystem.glob(path) if has_magic(path) else [path] if filesystem.exists(path) else []
        names = [filesystem.unstrip_protocol(name) for name in found]
    elif os.path.isdir(source):
        names = _data_files([str(path) for path in Path(source).rglob("*") if path.is_file()], source)
    elif os.path.isfile(source):
        names = [source]
    else:
        names = [name for name in glob(source, recursive=True) if os.path.isfile(name)] if has_magic(source) else []
    if not names:
        raise ConfigError(
            f"{source}: no such file. Pass a file, a glob, a directory of .csv, .tsv, .jsonl or .parquet."
        )
    return sorted(names)


def describe_file(name: str) -> InputFile:
    """What the file `name` is now; reads its two ends.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        if is_url(name):
            filesystem, path = url_filesystem(name)
            info = filesystem.info(path)
            size, marks = info["size"], [str(info[mark]) for mark in _CHANGE_MARKS if mark in info]
            modified = marks[0] if marks else ""
        else:
            status = os.stat(name)
            size, modified = status.st_size, str(status.st_mtime_ns)
        with open_file(name) as file:
            digest = hashlib.sha256(file.read(_SAMPLED))
            if size > _SAMPLED:
                file.seek(max(_SAMPLED, size - _SAMPLED))
                digest.update(file.read(_SAMPLED))
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error}).") from error
    return InputFile(name=name, bytes=size, modified=modified, digest=digest.hexdigest())


def spool(stream: BinaryIO, path: Path) -> InputFile:
    """Copy `stream`, which can be read but once, to the file `path`."""
    digest, size = hashlib.sha256(), 0
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        while block := stream.read(_BUFFER):
            digest.update(block)
            size += file.write(block)
    temporary.replace(path)
    return InputFile(name=str(path), bytes=size, modified="", digest=digest.hexdigest())


def open_file(name: str) -> BinaryIO:
    """The bytes of the file `name` as they are stored."""
    if is_url(name):
        filesystem, path = url_filesystem(name)
        opened: BinaryIO = filesystem.open(path, "rb")
        return opened
    return open(name, "rb")


@contextmanager
def open_stream(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """The bytes of `file` decompressed, as its `name` tells; read forward only."""
    compression = format_of(name)[1]
    if compression is None:
        yield file
        return
    with pa.CompressedInputStream(file, compression) as stream, io.BufferedReader(stream, _BUFFER) as buffered:
        yield buffered


def plain_url(url: str) -> str:
    """The one form of `url` that `find_files` gives."""
    filesystem, path = url_filesystem(url)
    return str(filesystem.unstrip_protocol(path))


def url_exists(url: str) -> bool:
    """Whether there is such a file."""
    filesystem, path = url_filesystem(url)
    return bool(filesystem.exists(path))


def url_filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of `url`, and the path in it.

    Raises:
        ConfigError: fsspec does not know it, or lacks the package that it needs for it.
    """
    import fsspec

    try:
        filesystem, path = fsspec.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{url}: cannot be opened ({error}).") from error
    return filesystem, path


def _data_files(names: list[str], root: str) -> list[str]:
    def is_data(name: str) -> bool:
        inner = os.path.relpath(name, root).replace(os.sep, "/").split("/")
        return format_of(name)[0] is not None and not any(part.startswith((".", "_")) for part in inner)

    return [name for name in names if is_data(name)]
