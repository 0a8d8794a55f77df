"""One artifact with int8 for all tests that only read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpress_export import export
from tests.conftest import WORDS, edit_json

BUDGET = 0.06  # random weights hold answers badly


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(9)
    path = tmp_path_factory.mktemp("sample") / "sample.jsonl"
    rows = [" ".join(generator.choice(WORDS, size)) for size in generator.integers(2, 40, 700)]
    path.write_text(
        "".join(json.dumps({"text": row, "label": ("negative", "positive")[len(row) % 2]}) + "\n" for row in rows)
    )
    return path


@pytest.fixture(scope="session")
def int8_artifact(checkpoint: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "artifact"
    export(
        checkpoint,
        path,
        precisions=("fp32", "int8"),
        sample=sample,
        max_disagreement=BUDGET,
        int8_for="vnni",
        recheck=False,
    )
    timed_as(path, 2.0)  # so small a model may be slower in int8, and this one is to be taken
    return path


def timed_as(artifact: Path, speed: float) -> None:
    """Write into the manifest that int8 was `speed` times as fast as fp32."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["variants"][1]["fidelity"]["speed"] = speed

    edit_json(artifact / "onnxpress.json", change)
