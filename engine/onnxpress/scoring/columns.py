"""The columns that scoring adds, and their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from onnxpress.errors import ConfigError
from onnxpress.scoring.formats import Kind, import_pyarrow, table_bytes
from onnxpress.scoring.rows import Part
from onnxpress.scoring.source import LINE

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Columns", "column_names", "part_bytes"]


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """What to add to each row.

    Attributes:
        labels: The model's.
        top_k: How many labels with their scores, best first.
        probabilities: Whether to add the score of every label.
        names: What each added column is called in the output, by its plain name.
    """

    labels: tuple[str, ...]
    top_k: int
    probabilities: bool
    names: dict[str, str]


def column_names(labels: Sequence[str], top_k: int, probabilities: bool, taken: Sequence[str]) -> dict[str, str]:
    """The added columns by their plain names, and what they are called where the input has columns `taken`.

    `label`, `score`, `label_2`, `score_2` …, and `score_of_LABEL`; one that is taken gets `_predicted` behind it, as
    often as it needs.
    """
    plain = [name for rank in range(1, top_k + 1) for name in (_ranked("label", rank), _ranked("score", rank))]
    plain += [f"score_of_{label}" for label in labels] if probabilities else []
    used, names = set(taken), {}
    for name in plain:
        final = name
        while final in used:
            final += "_predicted"
        used.add(final)
        names[name] = final
    return names


def part_bytes(
    part: Part, scores: NDArray[np.float32], bad: Mapping[int, str], columns: Columns, kind: Kind, *, skip: bool
) -> bytes:
    """The rows of `part` with the added columns, as the bytes of a part of a `kind` file.

    Args:
        part: The rows.
        scores: float32 [rows, labels].
        bad: Places of rows that have none: their columns are null, or with `skip` they are left out.
        columns: What to add.
        kind: The output's.
        skip: Whether bad rows are left out.
    """
    pa = import_pyarrow()
    added = _added(scores, bad, columns)
    keep = [place for place in range(part.table.num_rows) if not (skip and place in bad)]
    if LINE in part.table.column_names and kind == "jsonl":
        lines = part.table.column(LINE).to_pylist()
        values = {name: column.to_pylist() for name, column in added.items()}
        rows = (_line(lines[place], part, place, {name: v[place] for name, v in values.items()}) for place in keep)
        return b"".join(rows)
    table = _carried(part)
    for name, column in added.items():
        table = table.append_column(name, column)
    table = table.take(pa.array(keep, pa.int64())) if len(keep) < table.num_rows else table
    if kind != "jsonl":
        return table_bytes(table, kind)
    return b"".join(msgspec.json.encode(row) + b"\n" for row in table.to_pylist())


def _added(scores: NDArray[np.float32], bad: Mapping[int, str], columns: Columns) -> dict[str, Any]:
    """The added columns by their names in the output, null for the rows `bad`."""
    pa = import_pyarrow()
    ranked = np.argsort(-scores, axis=1, kind="stable")
    rows = np.arange(len(scores))
    missing = np.isin(rows, list(bad))
    labels = np.array(columns.labels, dtype=object)
    found: dict[str, Any] = {}
    for rank in range(1, columns.top_k + 1):
        best = ranked[:, rank - 1]
        found[_ranked("label", rank)] = pa.array(labels[best], pa.string(), mask=missing)
        found[_ranked("score", rank)] = pa.array(scores[rows, best], pa.float32(), mask=missing)
    if columns.probabilities:
        for index, label in enumerate(columns.labels):
            found[f"score_of_{label}"] = pa.array(scores[:, index], pa.float32(), mask=missing)
    return {columns.names[name]: values for name, values in found.items()}


def _carried(part: Part) -> pa.Table:
    """The input's own columns; those of JSON lines as pyarrow reads them."""
    pa = import_pyarrow()
    if LINE not in part.table.column_names:
        return part.table
    lines = part.table.column(LINE).to_pylist()
    try:
        return pa.Table.from_pylist([msgspec.json.decode(line) for line in lines])
    except (pa.ArrowException, msgspec.DecodeError, AttributeError) as error:
        raise ConfigError(
            f"JSON lines from row {part.rows[0]} make no table ({' '.join(str(error).split())[:200]}). Write .jsonl."
        ) from error


def _line(line: bytes, part: Part, place: int, added: Mapping[str, object]) -> bytes:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        row = None
    if not isinstance(row, dict):
        row = {LINE: line.decode("utf-8", "replace")}
    if taken := sorted(row.keys() & added.keys()):
        raise ConfigError(
            f"row {part.rows[place]} has a field {taken[0]!r} of its own, which the first rows have not. Rename it."
        )
    return msgspec.json.encode({**row, **added}) + b"\n"


def _ranked(name: str, rank: int) -> str:
    return name if rank == 1 else f"{name}_{rank}"
