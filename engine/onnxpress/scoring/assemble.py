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
from onnxpress.scoring.files import is_url, url_exists, url_filesystem
from onnxpress.scoring.journal import PartRecord, WrittenFile, sync_folder
from onnxpress.scoring.parts import checksum
from onnxpress.scoring.plan import Plan
from onnxpress.scoring.sink import PARQUET_COMPRESSION

__all__ = ["publish", "publish_rejects"]

_GROUP_ROWS: Final = 65_536
_GROUP_BYTES: Final = 32 * 2**20


def publish(plan: Plan, records: Sequence[PartRecord], output: str) -> None:
    """Make `output` of the parts in `records`, in order: a folder of them, or one file.

    Raises:
        JobError: A part is not as it was committed.
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
        target = Path(output)
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(plan.parts, target)
        sync_folder(target.absolute().parent)
        return
    paths = [plan.parts / record.file.name for record in records]
    temporary = plan.parts.with_name("output.tmp")
    if plan.format == "parquet":
        _join_parquet(paths, temporary)
    else:
        _join_bytes(paths, temporary)
    _move(temporary, output)


def publish_rejects(plan: Plan, records: Sequence[PartRecord], output: str) -> None:
    """Make the file `output` of what was rejected; of nothing, none.

    Raises:
        JobError: A file of what was rejected is not as it was committed.
    """
    written = [record.rejects for record in records if record.rejects is not None]
    for file in written:
        _require_same(plan.rejects, file, output)
    if written:
        temporary = plan.parts.with_name("rejected.tmp")
        _join_bytes([plan.rejects / file.name for file in written], temporary)
        _move(temporary, output)
    elif not is_url(output):
        Path(output).unlink(missing_ok=True)
    elif url_exists(output):
        filesystem, path = url_filesystem(output)
        filesystem.rm(path)


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
        held.append(parquet.ParquetFile(path, pre_buffer=False).read(use_threads=False))
        if sum(map(len, held)) >= _GROUP_ROWS or sum(table.nbytes for table in held) >= _GROUP_BYTES:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def _move(temporary: Path, output: str) -> None:
    if is_url(output):
        filesystem, path = url_filesystem(output)
        filesystem.put_file(str(temporary), f"{path}.tmp")
        filesystem.mv(f"{path}.tmp", path)
        return
    target = Path(output)
    os.replace(temporary, target)
    sync_folder(target.absolute().parent)


def _require_same(folder: Path, written: WrittenFile, output: str) -> None:
    path = folder / written.name
    if not path.exists() or checksum(path) != written:
        raise JobError(output, f"the part {path} is missing, or not as it was committed. Pass --restart.")
