"""A whole benchmark on the tiny classifier, run once."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

import onnxpress
from onnxpress_bench.result import BenchResult
from onnxpress_bench.runner import run_benchmark
from onnxpress_bench.sample import SampleSizes
from tests.made_once import MadeOnce

SIZES = SampleSizes(
    blocks=2, requests=6, texts_per_query=3, loads=(0.2,), cold_starts=1, sweep_tokens=(8, 500), sweep_batches=(1, 2)
)
PEERS = ("pipeline", "eager", "onnxruntime")


@pytest.fixture(scope="session")
def text_file(artifact: Path, texts: list[str], made_once: MadeOnce) -> Path:
    """40 texts with labels, every tenth of which is wrong."""

    def make(folder: Path) -> None:
        rows = texts[:40]
        with onnxpress.load(artifact) as classifier:
            found = [prediction.label for prediction in classifier(rows)]
        wrong = {"negative": "positive", "positive": "negative"}
        labels = [wrong[label] if index % 10 == 0 else label for index, label in enumerate(found)]
        lines = (json.dumps({"text": t, "label": n}) + "\n" for t, n in zip(rows, labels, strict=True))
        (folder / "texts.jsonl").write_text("".join(lines))

    return made_once("bench-texts", make) / "texts.jsonl"


@pytest.fixture(scope="session")
def result(artifact: Path, checkpoint: Path, text_file: Path, made_once: MadeOnce) -> BenchResult:
    def make(folder: Path) -> None:
        measured = run_benchmark(
            artifact,
            text_file,
            against=str(checkpoint),
            peers=PEERS,
            sizes=SIZES,
            home=folder / "cache",
            command=["bench", "run"],
        )
        (folder / "result.pickle").write_bytes(pickle.dumps(measured))

    found: BenchResult = pickle.loads((made_once("bench", make) / "result.pickle").read_bytes())
    return found
