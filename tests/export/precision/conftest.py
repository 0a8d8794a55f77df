"""One artifact with int8 for all tests that only read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpress_export import export
from tests.conftest import WORDS, edit_json
from tests.made_once import MadeOnce
from tests.traced_once import traced_once

BUDGET = 0.06  # random weights hold answers badly


@pytest.fixture(scope="module", autouse=True)
def share_traces() -> Iterator[None]:
    """Precisions are made of a graph, however it was traced."""
    with traced_once():
        yield


@pytest.fixture(scope="session")
def sample(made_once: MadeOnce) -> Path:
    return made_once("sample", lambda folder: write_sample(folder / "sample.jsonl")) / "sample.jsonl"


def write_sample(path: Path) -> None:
    generator = np.random.default_rng(9)
    rows = [" ".join(generator.choice(WORDS, size)) for size in generator.integers(2, 40, 700)]
    path.write_text(
        "".join(json.dumps({"text": row, "label": ("negative", "positive")[len(row) % 2]}) + "\n" for row in rows)
    )


@pytest.fixture(scope="session")
def int8_artifact(checkpoint: Path, sample: Path, made_once: MadeOnce) -> Path:
    def make(folder: Path) -> None:
        export(
            checkpoint,
            folder / "artifact",
            precisions=("fp32", "int8"),
            sample=sample,
            max_disagreement=BUDGET,
            int8_for="vnni",
            recheck=False,
        )
        # so small a model may be slower in int8, and this one is to be taken
        timed_as(folder / "artifact", 2.0)

    return made_once("int8", make) / "artifact"


def timed_as(artifact: Path, speed: float) -> None:
    """Write into the manifest that int8 was `speed` times as fast as fp32."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["variants"][1]["fidelity"]["speed"] = speed

    edit_json(artifact / "onnxpress.json", change)
