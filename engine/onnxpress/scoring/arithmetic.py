"""Whether every row of the input was read: what the parts say against what the files hold."""

from __future__ import annotations

from collections.abc import Sequence

from onnxpress.errors import JobError
from onnxpress.scoring.journal import PartRecord
from onnxpress.scoring.names import is_url
from onnxpress.scoring.source import Source

__all__ = ["require_all_read"]


def require_all_read(source: Source, records: Sequence[PartRecord], output: str) -> None:
    """Count the lines of `source`, or the rows of its footers, and compare them with those of `records`.

    Text files behind URLs are not read again: they would be loaded twice.

    Raises:
        JobError: A row was left out, or read twice.
    """
    if source.format != "parquet" and any(is_url(file.name) for file in source.files):
        return
    there, read = sum(map(source.count, range(len(source.files)))), sum(record.lines for record in records)
    if there != read:
        raise JobError(
            output,
            f"of the {there:,} {'rows' if source.format == 'parquet' else 'lines'} of the input {read:,} were read. "
            "Nothing was written; please report this, with the input where you can.",
        )
