"""The recipe of docs/scale.md as it stands, on a local Spark. Needs pyspark and Java."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

import onnxpress
from tests.scoring.conftest import make_table

PAGE = Path(__file__).parents[2] / "docs/scale.md"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
def test_the_recipe_gives_the_engines_answers(artifact: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="pip install pyspark")
    (code,) = re.findall(r"```python spark\n(.*?)```", PAGE.read_text(), re.DOTALL)
    shutil.copytree(artifact, tmp_path / "artifact")
    table = make_table(10_000).select(["id", "text"])
    parquet.write_table(
        pa.concat_tables([table, pa.table({"id": [-1], "text": pa.nulls(1, pa.string())})]),
        tmp_path / "reviews.parquet",
    )
    environment = os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found = parquet.read_table(tmp_path / "scored.parquet").sort_by("id")
    assert found.column("id").to_pylist() == list(range(10_000))
    with onnxpress.load(artifact, optimize_for="throughput") as classifier:
        wanted = classifier(table.column("text").to_pylist())
    assert found.column("label").to_pylist() == [prediction.label for prediction in wanted]
    assert found.column("score").to_pylist() == pytest.approx([p.score for p in wanted], abs=1e-5)
