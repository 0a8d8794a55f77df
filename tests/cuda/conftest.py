"""The device of the tests marked `cuda`: CUDA, or with ONNXPRESS_CUDA_DEVICE=cpu a rehearsal on the CPU."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from onnxpress.hardware.cuda import cuda_problem
from onnxpress.sessions.session import Device
from onnxpress_export import export
from tests.conftest import WORDS


@pytest.fixture(scope="session")
def device() -> Device:
    if os.environ.get("ONNXPRESS_CUDA_DEVICE") == "cpu":
        return "cpu"
    if (problem := cuda_problem()) is not None:
        pytest.skip(problem)
    return "cuda"


@pytest.fixture(scope="session")
def half_artifact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With fp32 and fp16."""
    folder, generator = tmp_path_factory.mktemp("half"), np.random.default_rng(9)
    rows = [" ".join(generator.choice(WORDS, size)) for size in generator.integers(2, 40, 400)]
    (folder / "sample.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    export(
        checkpoint,
        folder / "artifact",
        precisions=("fp32", "fp16"),
        sample=folder / "sample.jsonl",
        max_disagreement=0.02,
    )
    return folder / "artifact"
