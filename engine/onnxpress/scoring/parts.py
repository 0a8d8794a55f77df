"""Writing a part: to a temporary name, to the disk, and only then under its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import msgspec
import pyarrow as pa

from onnxpress.answers.answered import Answered
from onnxpress.model import Model
from onnxpress.scoring.columns import answer_fields, answer_values
from onnxpress.scoring.journal import PartRecord, WrittenFile, sync_folder
from onnxpress.scoring.names import printable
from onnxpress.scoring.options import Compression, Format
from onnxpress.scoring.placing import checksum
from onnxpress.scoring.plan import Plan
from onnxpress.scoring.rows import Carried, PartEnd, Unscored
from onnxpress.scoring.sink import json_objects, open_sink
from onnxpress.watching.counts import Counts, summed

__all__ = ["PartWriter", "part_is_there"]


class PartWriter:
    """One part; `commit` or `discard` ends it."""

    def __init__(self, plan: Plan, model: Model, part: int) -> None:
        self._plan, self._model, self._part = plan, model, part
        self._path = plan.parts / f"part-{part:06}{_suffix(plan.format, plan.compression)}"
        self._rejects_path = plan.rejects / f"part-{part:06}.jsonl"
        self._temporary = _temporary_name(self._path)
        self._temporary_rejects = _temporary_name(self._rejects_path)
        self._rows = self._scored = self._lines = 0
        self._seen: list[Counts] = []
        self._stack = ExitStack()
        self._file: BinaryIO = self._stack.enter_context(self._temporary.open("wb"))
        self._rejects: BinaryIO = self._stack.enter_context(self._temporary_rejects.open("wb"))
        schema = None if plan.source.layout.schema is None else plan.source.layout.arrow()
        self._write = self._stack.enter_context(
            open_sink(
                self._file,
                plan.format,
                plan.compression,
                schema,
                answer_fields(plan.columns),
                header=plan.is_folder or part == 0,
                quoted_tsv=plan.source.quoted_tsv,
            )
        )

    def write(self, rows: Unscored, answered: Sequence[Answered], seen: Counts) -> None:
        """Add a chunk, the answers to its kept rows, and what was `seen` of them."""
        total = len(rows.chunk.texts)
        places: list[int | None] = [None] * total
        for place, row in enumerate(rows.kept):
            places[row] = place
        carried = rows.chunk.carried
        if self._plan.on_bad_row == "skip" and rows.problems:
            carried = _chosen(carried, rows.kept)
            places = list(range(len(rows.kept)))
        self._write(carried, answer_values(answered, self._plan.columns, self._plan.manifest, self._model, places))
        self._rows += total
        self._scored += len(rows.kept)
        self._lines += rows.chunk.lines
        self._seen.append(seen)
        self._rejects.writelines(self._rejected(rows, row) for row in sorted(rows.problems))

    def commit(self, end: PartEnd) -> PartRecord:
        """Put the part on the disk under its name."""
        self._stack.close()
        rejects = None
        if self._rows > self._scored:
            rejects = _publish(self._temporary_rejects, self._rejects_path)
        else:
            self._temporary_rejects.unlink()
        return PartRecord(
            part=self._part,
            start=end.start,
            end=end.end,
            rows=self._rows,
            scored=self._scored,
            rejected=self._rows - self._scored,
            lines=self._lines,
            seen=summed(self._seen),
            file=_publish(self._temporary, self._path),
            rejects=rejects,
        )

    def discard(self) -> None:
        """Leave nothing of the part."""
        with suppress(OSError, pa.ArrowException):  # a full disk has been told already
            self._stack.close()
        self._temporary.unlink(missing_ok=True)
        self._temporary_rejects.unlink(missing_ok=True)

    def _rejected(self, rows: Unscored, row: int) -> bytes:
        problem, start = rows.problems[row], rows.chunk.start
        told: dict[str, Any] = {
            "file": printable(self._plan.source.files[start.file].name),
            "row": start.row + row + 1,
            "reason": problem.reason,
        }
        if problem.raw is not None:
            told["raw"] = problem.raw
        else:
            carried = rows.chunk.carried
            is_batch = isinstance(carried, pa.RecordBatch)
            told["values"] = msgspec.Raw(json_objects(carried.slice(row, 1))[0] if is_batch else carried[row])
        return msgspec.json.encode(told) + b"\n"


def _chosen(carried: Carried, kept: Sequence[int]) -> Carried:
    """The rows at the places `kept`, in order."""
    if not isinstance(carried, pa.RecordBatch):
        return [carried[row] for row in kept]
    # runs of rows are joined, since Arrow's own taking knows neither views nor lists of these
    breaks = [place for place in range(1, len(kept)) if kept[place] != kept[place - 1] + 1]
    bounds = list(zip([0, *breaks], [*breaks, len(kept)], strict=True)) if kept else []
    runs = [carried.slice(kept[begin], end - begin) for begin, end in bounds] or [carried.slice(0, 0)]
    return pa.RecordBatch.from_arrays(
        [pa.concat_arrays([run.column(index) for run in runs]) for index in range(carried.num_columns)],
        schema=carried.schema,
    )


def _suffix(kind: Format, compression: Compression | None) -> str:
    """What the name of such a file ends with."""
    return f".{kind}" + {None: "", "gzip": ".gz", "zstd": ".zst"}[compression]


def part_is_there(plan: Plan, record: PartRecord) -> bool:
    """Whether the part's files are there with their sizes; their content is checked in the end."""
    files = [(plan.parts, record.file)] + ([(plan.rejects, record.rejects)] if record.rejects is not None else [])
    for folder, file in files:
        path = folder / file.name
        if not path.is_file() or path.stat().st_size != file.bytes:
            return False
    return True


def _temporary_name(path: Path) -> Path:
    """A name beside `path` that no other writer takes."""
    return path.with_name(f".{path.name}.{os.getpid()}.{uuid4().hex}.tmp")


def _publish(temporary: Path, path: Path) -> WrittenFile:
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
    return checksum(path)
