"""The input's files: which they are, that they are still the same, and their bytes."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import pyarrow as pa

from onnxpress.errors import ConfigError
from onnxpress.scoring.names import is_url
from onnxpress.scoring.options import format_of

__all__ = [
    "REJECTED",
    "InputFile",
    "describe_file",
    "find_files",
    "mark_of_url",
    "open_file",
    "open_stream",
    "plain_url",
    "spool",
    "url_filesystem",
]

REJECTED: Final = ".rejected.jsonl"
"""How the file of what a job rejected is named, behind the output's name."""

_HIDDEN: Final = (".", "_")
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


def find_files(source: str) -> list[str]:
    """The files that `source` names, in the order in which they are read: a file, a glob, a directory, a URL of these.

    Of a directory, all files at any depth whose names end as a format's do, sorted; names that begin with "." or
    "_" are passed over, and text files beside files that have columns. Of a glob or a directory, what a job rejected
    is passed over.

    Raises:
        ConfigError: There are none, or a folder cannot be read.
    """
    if is_url(source):
        filesystem, path = url_filesystem(source)
        if filesystem.isdir(path):
            found = _data_files(filesystem.find(path), path)
        elif has_magic(path):
            found = _unrejected(filesystem.glob(path))
        else:
            found = [path] if filesystem.exists(path) else []
        names = [filesystem.unstrip_protocol(name) for name in found]
    elif os.path.isdir(source):
        names = _data_files(_walked(source), source)
    elif os.path.isfile(source):
        names = [source]
    else:
        names = _unrejected(_globbed(source)) if has_magic(source) else []
    if not names:
        raise ConfigError(
            f"{source}: no such file. Pass a file, a glob, a directory of .csv, .tsv, .jsonl, .parquet or .txt."
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


def spool(stream: BinaryIO | None, path: Path) -> InputFile:
    """Copy `stream`, standard input, which can be read but once, to the file `path`.

    Raises:
        ConfigError: There is none: it is closed.
    """
    if stream is None:
        raise ConfigError("standard input is closed. Pass a file, or give the texts through a pipe.")
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


def mark_of_url(url: str) -> str | None:
    """The size of the file at `url` and its store's own mark of it; None where there is none."""
    filesystem, path = url_filesystem(url)
    if not filesystem.exists(path):
        return None
    info = filesystem.info(path)
    return " ".join([str(info["size"]), *(str(info[mark]) for mark in _CHANGE_MARKS if mark in info)])


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


def _walked(root: str) -> list[str]:
    """Every file below the folder `root`, those of linked folders too, each folder once."""

    def refuse(error: OSError) -> None:
        raise ConfigError(f"{error.filename}: cannot be listed ({error.strerror}). Make it readable, or move it away.")

    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(Path(root), onerror=refuse, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(_HIDDEN))
        found += [os.path.join(folder, name) for name in files]
    return found


def _globbed(pattern: str) -> list[str]:
    for folder in glob(os.path.dirname(pattern) or ".", recursive=True):
        if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
            raise ConfigError(f"{folder}: cannot be listed. Make it readable, or move it away.")
    return [name for name in glob(pattern, recursive=True) if os.path.isfile(name)]


def _unrejected(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.endswith(REJECTED)]


def _data_files(names: Iterable[str], root: str) -> list[str]:
    def is_shown(name: str) -> bool:
        inner = os.path.relpath(name, root).replace(os.sep, "/").split("/")
        return not any(part.startswith(_HIDDEN) for part in inner)

    told = {name: format_of(name)[0] for name in _unrejected(names) if is_shown(name)}
    tables = [name for name, kind in told.items() if kind is not None and kind != "txt"]
    return tables or [name for name, kind in told.items() if kind == "txt"]
