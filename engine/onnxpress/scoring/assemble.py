"""Finished parts to the output, which appears by rename."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from onnxpress.errors import ConfigError
from onnxpress.scoring.formats import Format, import_pyarrow, open_compressed
from onnxpress.scoring.journal import Journal, state_directory, sync_directory

__all__ = ["assemble", "finish_interrupted", "rejected_path"]

_DONE: Final = "done"


def rejected_path(output: Path) -> Path:
    """Where the rows that could not be classified are named."""
    return output.with_name(f"{output.name}.rejected.jsonl")


def assemble(journal: Journal, output: Path, form: Format, header: Sequence[str], summary: bytes) -> None:
    """Write the journal's parts to `output` in order, byte for byte the same however often it was interrupted.

    Args:
        journal: All parts of the input.
        output: The file.
        form: Its format.
        header: Names of the columns, the first line of a CSV.
        summary: What `finish_interrupted` returns, should the job be killed before it is through with this.

    Raises:
        ConfigError: A part is not what was committed.
    """
    new, rejected = journal.directory / "output.new", journal.directory / "rejected.new"
    if form.kind == "parquet":
        _write_parquet(journal, new)
    else:
        with open_compressed(new, form.compression, "wb") as file:
            if form.kind != "jsonl":
                file.write(_csv_header(header, "\t" if form.kind == "tsv" else ","))
            for number in range(len(journal.parts)):
                file.write(_checked(journal, number))
    bad = [row for part in journal.parts for row in part.bad]
    rejected.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in bad))
    done = journal.directory / f"{_DONE}.new"
    done.write_bytes(summary)
    for path in (new, rejected, done):
        with path.open("rb+") as written:
            os.fsync(written.fileno())
    os.replace(done, journal.directory / _DONE)
    sync_directory(journal.directory)
    finish_interrupted(output)


def finish_interrupted(output: Path) -> bytes | None:
    """Rename what was assembled whole to `output`, and clear away. Returns its summary; None where there was none."""
    directory = state_directory(output)
    if not (directory / _DONE).exists():
        return None
    summary = (directory / _DONE).read_bytes()
    rejected = directory / "rejected.new"
    if rejected.exists():
        if rejected.stat().st_size:
            os.replace(rejected, rejected_path(output))
        else:
            rejected_path(output).unlink(missing_ok=True)
    if (directory / "output.new").exists():
        os.replace(directory / "output.new", output)
    sync_directory(output.parent)
    for path in directory.iterdir():
        if path.name != _DONE:
            path.unlink()
    shutil.rmtree(directory)
    return summary


def _checked(journal: Journal, number: int) -> bytes:
    record, path = journal.parts[number], journal.part(number)
    content = path.read_bytes()
    if len(content) != record.bytes or zlib.crc32(content) != record.crc:
        raise ConfigError(f"{path}: is not the part that was written. Pass --restart to begin again.")
    return content


def _write_parquet(journal: Journal, path: Path) -> None:
    pa = import_pyarrow()
    writer = None
    try:
        for number in range(len(journal.parts)):
            table = pa.ipc.open_file(pa.BufferReader(_checked(journal, number))).read_all()
            writer = writer or pa.parquet.ParquetWriter(path, table.schema)
            if table.num_rows or len(journal.parts) == 1:
                writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _csv_header(names: Sequence[str], delimiter: str) -> bytes:
    pa = import_pyarrow()
    sink = pa.BufferOutputStream()
    empty = pa.schema([(name, pa.string()) for name in names]).empty_table()
    pa.csv.write_csv(empty, sink, pa.csv.WriteOptions(include_header=True, delimiter=delimiter))
    content: bytes = sink.getvalue().to_pybytes()
    return content
