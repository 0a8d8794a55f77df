"""Shared by the scoring tests: inputs, commands, and what they should become."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pyarrow as pa
import pytest
from pyarrow import parquet

import onnxpress
from tests.conftest import WORDS

ROWS = 20_000
"""Rows of `source`: three parts."""


def make_table(rows: int, words: int = 8) -> pa.Table:
    """Seeded rows: a number, a text, and a column that has the name of an answer."""
    generator = random.Random(rows)
    texts = [" ".join(generator.choices(WORDS, k=generator.randint(1, words))) for _ in range(rows)]
    return pa.table({"id": range(rows), "text": texts, "label": pa.array(["?"] * rows)})


def read_folder(path: Path) -> dict[str, bytes]:
    """Every file in `path` by its name, or the file itself."""
    return {f.name: f.read_bytes() for f in sorted(path.iterdir())} if path.is_dir() else {path.name: path.read_bytes()}


def score_command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "onnxpress", "score", *map(str, arguments)]


def run_score(*arguments: object, stdin: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        score_command(*arguments), input=stdin, capture_output=True, timeout=300, check=False, cwd=cwd, env=environment
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    parquet.write_table(make_table(ROWS), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


@dataclass
class Stopped:
    """A job that was stopped: its output, its state, and the rows that are committed."""

    output: Path
    state: Path
    rows: int


@pytest.fixture
def stopped(artifact: Path, source: Path, tmp_path: Path) -> Stopped:
    """A job that was stopped in its first part, or just behind it."""
    stop, output = Event(), tmp_path / "out.csv"
    with pytest.raises(onnxpress.JobStoppedError, match="rows committed") as caught:
        onnxpress.score(artifact, source, output, on_progress=lambda progress: stop.set(), stop=stop)
    assert not output.exists() and caught.value.rows in (8_192, 16_384)
    return Stopped(output, tmp_path / ".out.csv.onnxpress", caught.value.rows)
