"""What is done, on the disk: parts that are whole, a journal that says so, and a lock."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from onnxpress.errors import ConfigError, MissingDependencyError
from onnxpress.scoring.rows import BadRow

__all__ = ["Header", "Journal", "PartRecord", "locked", "state_directory", "sync_directory"]

_JOURNAL: Final = "journal"
_LOCK: Final = "lock"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a part's bytes depend on: by a name that tells what has changed when one has."""

    facts: dict[str, str]


class PartRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A part that is on the disk.

    Attributes:
        number: From 0.
        rows: Rows read.
        written: Rows of them in the part.
        bytes, crc: Of the part's file.
        labels: How often each label was the best, by its index.
        bad: Rows that could not be classified.
    """

    number: int
    rows: int
    written: int
    bytes: int
    crc: int
    labels: dict[int, int]
    bad: list[BadRow]


def state_directory(output: Path) -> Path:
    """Where parts and journal lie until `output` is whole: a hidden directory beside it."""
    return output.with_name(f".{output.name}.onnxpress")


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold the lock of `output`, which ends with the process, however that ends.

    Raises:
        ConfigError: Another process holds it.
        MissingDependencyError: filelock is not installed.
    """
    try:
        import filelock
    except ImportError as error:
        raise MissingDependencyError("filelock", ("score",)) from error
    path = output.with_name(f".{output.name}.{_LOCK}")
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise ConfigError(
            f"{output}: is being written by another process. Wait for it, or choose another output."
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


class Journal:
    """The parts that are done. Appended to after each; every line bears its checksum, and is on the disk at return."""

    def __init__(self, output: Path, header: Header, *, restart: bool) -> None:
        """Open the journal of `output`, or begin one.

        Raises:
            ConfigError: It was begun with another input, artifact or options; says which.
        """
        self.directory = state_directory(output)
        if restart:
            shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(exist_ok=True)
        sync_directory(self.directory.parent)
        self._path = self.directory / _JOURNAL
        lines, whole = _read_lines(self._path)
        self.parts: list[PartRecord] = []
        self.header = header
        if lines:
            self.header = msgspec.json.decode(lines[0], type=Header)
            _require_same(output, self.header, header)
            self.parts = _present(self.directory, [msgspec.json.decode(line, type=PartRecord) for line in lines[1:]])
            if len(self.parts) + 1 < len(lines):
                whole = sum(len(_framed(line)) for line in lines[: len(self.parts) + 1])
        self._file = self._path.open("r+b" if self._path.exists() else "w+b")
        self._file.truncate(whole if lines else 0)
        self._file.seek(0, os.SEEK_END)
        if not lines:
            self._append(msgspec.json.encode(header))
            sync_directory(self.directory)

    def commit(self, record: PartRecord, content: bytes) -> None:
        """Put a part on the disk, and say so. Raises OSError with nothing said when the disk does not take it."""
        final = self.part(record.number)
        hidden = final.with_suffix(".new")
        with hidden.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(hidden, final)
        sync_directory(self.directory)
        self._append(msgspec.json.encode(record))
        self.parts.append(record)

    def part(self, number: int) -> Path:
        """The file of a part."""
        return self.directory / f"part-{number:08d}"

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _append(self, line: bytes) -> None:
        start = self._file.tell()
        try:
            self._file.write(_framed(line))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(start)
            raise


def sync_directory(path: Path) -> None:
    """Put the names in the directory `path` on the disk, where the system has a way."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _framed(line: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(line), line)


def _read_lines(path: Path) -> tuple[list[bytes], int]:
    """The lines that are whole, from the first on, and how many bytes they are."""
    lines: list[bytes] = []
    whole = 0
    content = path.read_bytes() if path.exists() else b""
    for line in content.splitlines(keepends=True):
        if _framed(line[9:-1]) != line:
            break
        lines.append(line[9:-1])
        whole += len(line)
    return lines, whole


def _present(directory: Path, records: Sequence[PartRecord]) -> list[PartRecord]:
    """The records whose parts are there, in order, up to the first that is not."""
    kept: list[PartRecord] = []
    for record in records:
        path = directory / f"part-{record.number:08d}"
        if record.number != len(kept) or not path.is_file() or path.stat().st_size != record.bytes:
            break
        kept.append(record)
    return kept


def _require_same(output: Path, held: Header, wanted: Header) -> None:
    changed = [name for name in {**held.facts, **wanted.facts} if held.facts.get(name) != wanted.facts.get(name)]
    if changed:
        raise ConfigError(
            f"{output}: {len(changed)} of what its finished parts were made with changed since: {', '.join(changed)}. "
            "Pass --restart to begin again, or choose another output."
        )
