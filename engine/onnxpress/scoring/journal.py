"""What a job has committed: an append-only file whose every line carries its checksum.

What stands behind a line that a crash has cut off, or that is damaged, is not believed: it is scored again.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import msgspec

from onnxpress.scoring.layout import Layout
from onnxpress.scoring.rows import Position
from onnxpress.watching.counts import Counts

__all__ = ["Header", "Journal", "PartRecord", "WrittenFile", "sync_folder"]


class WrittenFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a part, as it was when it was committed."""

    name: str
    bytes: int
    crc32: int


class PartRecord(msgspec.Struct, frozen=True, kw_only=True, tag="part"):
    """A committed part.

    Attributes:
        part: Its index.
        start, end: Where its rows lie in the input.
        rows: Rows read.
        scored: Rows classified.
        rejected: Rows that could not be.
        lines: Lines that the rows are made of; their number where the format has no lines.
        seen: What the answers of its rows were.
        file: Its rows and answers.
        rejects: What was rejected; None where nothing was.
    """

    part: int
    start: Position
    end: Position
    rows: int
    scored: int
    rejected: int
    lines: int = 0
    seen: Counts
    file: WrittenFile
    rejects: WrittenFile | None


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header"):
    """What a job began with.

    Attributes:
        job: Names the folder of its parts, so that no late writer of another job meets them.
        facts: What decides what the output is, by name.
        layout: The input's columns.
        replaces: Marks of what lay at the output and at the file of rejects, which may be replaced; by their names.
    """

    job: str
    facts: dict[str, Any]
    layout: Layout
    replaces: dict[str, str] = msgspec.field(default_factory=dict)


class BadRows(msgspec.Struct, frozen=True, kw_only=True, tag="bad_rows"):
    """From here on bad rows are treated otherwise."""

    choice: str


class Published(msgspec.Struct, frozen=True, kw_only=True, tag="published"):
    """The output is there, with that mark; only clearing up is left."""

    mark: str | None


_Entry = Header | PartRecord | BadRows | Published


class Journal:
    """The journal at `path`, begun with its first entry; `open` reads one that is there.

    Attributes:
        header: What the job began with.
        parts: What it has committed, by index.
        on_bad_row: What is done with bad rows now.
        published: The mark of the output that was put in its place; None before.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self._size = 0
        self.header = header
        self.parts: dict[int, PartRecord] = {}
        self.on_bad_row = str(header.facts["on_bad_row"])
        self.published: str | None = None

    @classmethod
    def open(cls, path: Path) -> Journal | None:
        """Read what is there up to the first line that is damaged or cut off, and drop the rest; None without any."""
        if not path.exists():
            return None
        entries, size = [], 0
        for line in path.read_bytes().splitlines(keepends=True):
            if (entry := _decode(line)) is None:
                break
            entries.append(entry)
            size += len(line)
        if not entries or not isinstance(header := entries[0], Header):
            return None
        journal = cls(path, header)
        journal._size = size
        for entry in entries[1:]:
            if isinstance(entry, PartRecord):
                journal.parts[entry.part] = entry
            elif isinstance(entry, BadRows):
                journal.on_bad_row = entry.choice
            elif isinstance(entry, Published):
                journal.published = entry.mark
        return journal

    @property
    def is_new(self) -> bool:
        """Whether nothing of it is written yet."""
        return self._size == 0

    def commit(self, record: PartRecord) -> None:
        """Add a part, whose files are on the disk; so is this when it returns."""
        self._append(record)
        self.parts[record.part] = record

    def records(self) -> list[PartRecord]:
        """The committed parts, in order."""
        return [self.parts[part] for part in sorted(self.parts)]

    def change_bad_rows(self, choice: str) -> None:
        """From here on treat bad rows as `choice` says."""
        self._append(BadRows(choice=choice))
        self.on_bad_row = choice

    def publish(self, mark: str | None) -> None:
        """Note that the output is in its place, with that `mark`."""
        self._append(Published(mark=mark))
        self.published = mark

    def _append(self, entry: _Entry) -> None:
        lines = _line(entry) if self._size else _line(self.header) + _line(entry)
        with self._path.open("r+b" if self._size else "wb") as file:
            file.truncate(self._size)  # what a full disk has left of a line
            file.seek(self._size)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        if not self._size:
            sync_folder(self._path.parent)
            sync_folder(self._path.absolute().parents[1])
        self._size += len(lines)


def sync_folder(path: Path) -> None:
    """Put the names in the folder `path` on the disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(entry: _Entry) -> bytes:
    body = msgspec.json.encode(entry)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _decode(line: bytes) -> _Entry | None:
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(body):
        return None
    try:
        entry: _Entry = msgspec.json.decode(body, type=_Entry)
        return entry
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
