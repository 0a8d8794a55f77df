"""Shared by the scoring tests: inputs, and what they should become."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from tests.conftest import WORDS


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
