"""Committed parts to the output, which appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyarrow import parquet

from onnxpress.errors import JobError
from onnxpress.scoring.journal import PartRecord, WrittenFile
from onnxpress.scoring.placing import checksum, place_file, place_folder, remove_marked
from onnxpress.scoring.plan import Plan
from onnxpress.scoring.sink import PARQUET_COMPRESSION

__all__ = ["publish", "publish_rejects"]

_GROUP_ROWS: Final = 65_536
_GROUP_BYTES: Final = 32 * 2**20


def publish(plan: Plan, records: Sequence[PartRecord], output: str, replaces: str | None) -> None:
    """Make `output` of the parts in `records`, in order: a folder of them, or one file.

    Raises:
        JobError: A part is not as it was committed; or something lies at `output` that has not the mark `replaces`.
    """
    is_moved = plan.is_folder and not plan.parts.exists()  # and then the run was killed
    for record in records:
        _require_same(Path(output) if is_moved else plan.parts, record.file, output)
    if is_moved:
        return
    if plan.is_folder:
        kept = {record.file.name for record in records}
        for stray in [path for path in plan.parts.iterdir() if path.name not in kept]:
            stray.unlink()  # left by a writer that was killed
        place_folder(plan.parts, output, replaces, plan.parts.with_name("replaced"))
        return
    paths = [plan.parts / record.file.name for record in records]
    temporary = plan.parts.with_name("output.tmp")
    if plan.format == "parquet":
        _join_parquet(paths, temporary)
    else:
        _join_bytes(paths, temporary)
    place_file(temporary, output, replaces)


def publish_rejects(plan: Plan, records: Sequence[PartRecord], output: str, replaces: str | None) -> None:
    """Make the file `output` of what was rejected; of nothing, none.

    Raises:
        JobError: A file of what was rejected is not as it was committed; or something lies at `output` that has not
            the mark `replaces`.
    """
    written = [record.rejects for record in records if record.rejects is not None]
    for file in written:
        _require_same(plan.rejects, file, output)
    if written:
        temporary = plan.parts.with_name("rejected.tmp")
        _join_bytes([plan.rejects / file.name for file in written], temporary)
        place_file(temporary, output, replaces)
    else:
        remove_marked(output, replaces)


def _join_bytes(paths: Sequence[Path], target: Path) -> None:
    with target.open("wb") as file:
        for path in paths:
            with path.open("rb") as part:
                shutil.copyfileobj(part, file, 2**20)
        file.flush()
        os.fsync(file.fileno())


def _join_parquet(paths: Sequence[Path], target: Path) -> None:
    schema = parquet.read_schema(paths[0])
    with target.open("wb") as file:
        with parquet.ParquetWriter(file, schema, compression=PARQUET_COMPRESSION) as writer:
            for group in _groups(paths):
                writer.write_table(group, row_group_size=_GROUP_ROWS)
        file.flush()
        os.fsync(file.fileno())


def _groups(paths: Sequence[Path]) -> Iterator[Any]:
    """Row groups of a size that readers like, from the small ones of the parts."""
    held: list[pa.Table] = []
    for path in paths:
        with parquet.ParquetFile(path, pre_buffer=False) as part:
            for group in range(part.num_row_groups):
                held.append(part.read_row_group(group, use_threads=False))
                if sum(map(len, held)) >= _GROUP_ROWS or sum(table.nbytes for table in held) >= _GROUP_BYTES:
                    yield pa.concat_tables(held)
                    held = []
    if held:
        yield pa.concat_tables(held)


def _require_same(folder: Path, written: WrittenFile, output: str) -> None:
    path = folder / written.name
    if not path.exists() or checksum(path) != written:
        raise JobError(output, f"the part {path} is missing, or not as it was committed. Pass --restart.")
