"""A whole benchmark on the tiny classifier, run once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import onnxpress
from onnxpress_bench.result import BenchResult
from onnxpress_bench.runner import run_benchmark
from onnxpress_bench.sample import SampleSizes

SIZES = SampleSizes(
    blocks=2, requests=6, texts_per_query=3, loads=(0.2,), cold_starts=1, sweep_tokens=(8, 500), sweep_batches=(1, 2)
)
PEERS = ("pipeline", "eager", "onnxruntime")


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory, artifact: Path, texts: list[str]) -> Path:
    """40 texts with labels, every tenth of which is wrong."""
    rows = texts[:40]
    with onnxpress.load(artifact) as classifier:
        found = [prediction.label for prediction in classifier(rows)]
    wrong = {"negative": "positive", "positive": "negative"}
    labels = [wrong[label] if index % 10 == 0 else label for index, label in enumerate(found)]
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in zip(rows, labels, strict=True)))
    return path


@pytest.fixture(scope="session")
def result(artifact: Path, checkpoint: Path, text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> BenchResult:
    return run_benchmark(
        artifact,
        text_file,
        against=str(checkpoint),
        peers=PEERS,
        sizes=SIZES,
        home=tmp_path_factory.mktemp("cache"),
        command=["bench", "run"],
    )
