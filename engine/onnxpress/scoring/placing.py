"""Putting a job's files in their places, without taking away what is not the job's.

What lies at a place may be replaced when it is what lay there as the job was told to replace it, by its mark, or when
it has the same bytes: then a run of the same job put it there and was killed. Anything else has come meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path
from typing import BinaryIO, Final
from uuid import uuid4

from onnxpress.errors import JobError
from onnxpress.scoring.files import mark_of_url, open_file, url_filesystem
from onnxpress.scoring.journal import WrittenFile, sync_folder
from onnxpress.scoring.names import is_url

__all__ = ["checksum", "mark_of", "place_file", "place_folder", "remove_marked"]

_BLOCK: Final = 2**20


def mark_of(name: str) -> str | None:
    """What lies at the path or URL `name`, so that it is known again; None where nothing does."""
    if is_url(name):
        return mark_of_url(name)
    path = Path(name)
    if not os.path.lexists(path):
        return None
    if path.is_dir() and not path.is_symlink():
        marks = [f"{child.name} {_status(child)}" for child in sorted(path.iterdir())]
        return hashlib.sha256("\n".join(marks).encode("utf-8", "surrogateescape")).hexdigest()
    return _status(path)


def place_file(temporary: Path, name: str, replaces: str | None) -> None:
    """Move the file `temporary` to the path or URL `name`.

    Args:
        temporary: A whole file, on the filesystem of a path.
        name: Where to.
        replaces: The mark of what may be replaced there.

    Raises:
        JobError: Something else lies there.
    """
    found = mark_of(name)
    if found is not None and found != replaces:
        if not _has_bytes_of(name, temporary):
            raise _foreign(name)
        temporary.unlink()
        return
    if is_url(name):
        filesystem, path = url_filesystem(name)
        uploaded = f"{path}.{uuid4().hex}.tmp"
        filesystem.put_file(str(temporary), uploaded)
        filesystem.mv(uploaded, path)
        return
    if found is None:
        _move_to_free(temporary, Path(name))
    else:
        os.replace(temporary, name)
    sync_folder(Path(name).absolute().parent)


def place_folder(folder: Path, name: str, replaces: str | None, aside: Path) -> None:
    """Move `folder` to the path `name`, and what it replaces there to `aside`.

    Raises:
        JobError: Something lies there that has not the mark `replaces`.
    """
    found = mark_of(name)
    if found is not None and found != replaces:
        raise _foreign(name)
    if found is not None:
        os.rename(name.rstrip("/"), aside)
    os.replace(folder, name.rstrip("/"))
    sync_folder(Path(name).absolute().parent)


def remove_marked(name: str, mark: str | None) -> None:
    """Remove the file `name` when it has that `mark`."""
    if mark is None or mark_of(name) != mark:
        return
    if is_url(name):
        filesystem, path = url_filesystem(name)
        filesystem.rm(path)
    else:
        Path(name).unlink()


def checksum(path: Path) -> WrittenFile:
    """What the file at `path` is."""
    with path.open("rb") as file:
        size, crc32 = _sums(file)
    return WrittenFile(name=path.name, bytes=size, crc32=crc32)


def _move_to_free(temporary: Path, target: Path) -> None:
    """Move `temporary` to `target`, where nothing may lie: a link is made, which replaces nothing."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise _foreign(str(target)) from None
    except OSError:  # a filesystem without links
        os.replace(temporary, target)
    else:
        temporary.unlink()


def _has_bytes_of(name: str, temporary: Path) -> bool:
    if not is_url(name) and not Path(name).is_file():
        return False
    with open_file(name) as found, temporary.open("rb") as wanted:
        return _sums(found) == _sums(wanted)


def _sums(file: BinaryIO) -> tuple[int, int]:
    """Size and checksum of what is left of `file`."""
    size, crc32 = 0, 0
    while block := file.read(_BLOCK):
        crc32 = zlib.crc32(block, crc32)
        size += len(block)
    return size, crc32


def _status(path: Path) -> str:
    status = path.lstat()
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"


def _foreign(name: str) -> JobError:
    return JobError(
        name,
        "was put there while the job ran, by something else. Move it away, and the same call (without --restart) "
        "continues.",
    )
