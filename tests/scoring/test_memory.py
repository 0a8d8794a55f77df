"""What is held at a time is bounded by bytes, whatever a file's shape; and a chunk ends where it ended before."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import onnxpress
from onnxpress.scoring import layout
from onnxpress.scoring.assemble import _groups
from onnxpress.scoring.files import describe_file, find_files
from onnxpress.scoring.parquet_rows import ParquetChunk, open_parquet, parquet_cells, parquet_chunks
from onnxpress.scoring.rows import Position
from onnxpress.scoring.sink import open_sink
from onnxpress.scoring.sizes import row_sizes
from onnxpress.scoring.source import Source

LONG = "x" * 20_000
SHORT = [f"row {number}" for number in range(1_500)]
LIMIT = 2**18

SHAPES: dict[str, pa.Array] = {
    "one value of a dictionary": pa.DictionaryArray.from_arrays(pa.array([0] * 1_500), [LONG]),
    "long rows behind short ones": pa.array([*SHORT, *(LONG + str(n) for n in range(100))]),
    "sorted": pa.array(["y" * (n * 10) for n in range(1_500)]),
    "one row over the limit": pa.array([*SHORT[:700], "z" * 10**6, *SHORT[700:]]),
    "lists": pa.array([[LONG] * (n % 3) for n in range(300)]),
    "short": pa.array(SHORT),
}


def chunks(path: Path, start: int = 0) -> list[ParquetChunk]:
    with path.open("rb") as file:
        return list(parquet_chunks(open_parquet(file), start, cell_rows=1_000, chunk_bytes=LIMIT))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("group", [90, 100_000])
@pytest.mark.parametrize("keeps_dictionary", [True, False])
def test_chunks_are_cut_by_their_real_bytes(tmp_path: Path, shape: str, group: int, keeps_dictionary: bool) -> None:
    table = pa.table({"x": SHAPES[shape]})
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=group, store_schema=keeps_dictionary)
    found = chunks(tmp_path / "x.parquet")
    assert pa.concat_arrays([chunk.rows.column(0).cast(table.schema.field(0).type) for chunk in found]).to_pylist() == (
        table.column("x").to_pylist()
    )
    for chunk in found:
        assert len(chunk.rows) == 1 or row_sizes(chunk.rows).sum() <= LIMIT
        assert chunk.ends_cell == (chunk.end % 1_000 == 0 or chunk.end == len(table))
    cells = [end for _, end in parquet_cells(len(table), 0, 1_000)]
    assert [chunk.end for chunk in found if chunk.ends_cell] == cells
    for place in (found[0].end, found[len(found) // 2].end):
        again = chunks(tmp_path / "x.parquet", place)
        assert [(c.start, c.end) for c in again] == [(c.start, c.end) for c in found if c.start >= place]
        wanted = [c.rows for c in found if c.start >= place]
        assert all(one.rows.equals(other) for one, other in zip(again, wanted, strict=True))


def test_a_part_of_long_rows_has_several_row_groups_which_are_joined_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxpress.scoring.sink.GROUP_BYTES", 10 * len(LONG))
    schema, path = pa.schema([("x", pa.string())]), tmp_path / "part.parquet"
    with (
        path.open("wb") as file,
        open_sink(
            file, "parquet", None, schema, [pa.field("score", pa.float32())], header=True, quoted_tsv=False
        ) as write,
    ):
        for _ in range(6):
            write(pa.record_batch([[LONG] * 5], schema=schema), [pa.array(np.zeros(5, dtype=np.float32))])
    assert parquet.ParquetFile(path).num_row_groups == 3
    monkeypatch.setattr("onnxpress.scoring.assemble._GROUP_BYTES", 10 * len(LONG))
    assert [len(table) for table in _groups([path, path])] == [10] * 6


def test_objects_are_read_by_bytes_for_their_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.jsonl").write_text(f'{{"text": "{LONG}"}}\n' * 50)
    monkeypatch.setattr(layout, "CHUNK_BYTES", 10 * len(LONG))
    blocks = list(layout._blocks([describe_file(str(tmp_path / "x.jsonl"))]))
    assert sum(map(len, blocks)) == 50 and max(map(len, blocks)) <= 10


def test_parts_end_at_cells_and_a_job_of_long_rows_goes_on_to_the_same_bytes(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxpress.scoring.source.CHUNK_BYTES", LIMIT)
    for index, rows in enumerate((1_000, 20_000)):
        texts = pa.array(["good"] * rows)
        large = pa.array([LONG if n % 1_000 < 40 else "s" for n in range(rows)])
        parquet.write_table(pa.table({"text": texts, "large": large}), tmp_path / f"{index}.parquet")
    source = f"{tmp_path}/[0-9].parquet"
    summary = onnxpress.score(artifact, source, tmp_path / "whole.parquet")
    assert (summary.rows, summary.parts) == (21_000, 3)
    files = tuple(describe_file(name) for name in find_files(source))
    columns = layout.read_layout(
        files, "parquet", text_column="text", pair_column=None, keep_objects=False, quoted_tsv=False
    )
    read = Source(
        files=files, format="parquet", layout=columns, text_column="text", pair_column=None, quoted_tsv=False
    )  # fmt: skip
    ends = [chunk.end for chunk in read.chunks(Position()) if chunk.ends_cell]
    assert ends == [end for _, end in read.spans(Position())], "what Ray's workers are given"
    stop = Event()
    with pytest.raises(onnxpress.JobStoppedError) as stopped:
        onnxpress.score(artifact, source, tmp_path / "out.parquet", on_progress=lambda _: stop.set(), stop=stop)
    assert stopped.value.rows in (1_000 + 2 * 4_096, 1_000 + 4 * 4_096)
    onnxpress.score(artifact, source, tmp_path / "out.parquet")
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
