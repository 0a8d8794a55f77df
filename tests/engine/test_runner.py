"""Padded buckets give what equal lengths give. This is CUDA's way to run, here on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress.inputs.encoder import TokenRows
from onnxpress.running.runner import PaddedBuckets
from onnxpress.sessions.session import Session, nodes_left_to_the_cpu
from tests.conftest import MAX_LENGTH

ATOL = 2e-5  # fp32 sums in another order over two layers, logits of order 1


@pytest.fixture(scope="module")
def classifier(artifact: Path) -> Iterator[onnxpress.Classifier]:
    with onnxpress.load(artifact) as opened:
        yield opened


@pytest.fixture(scope="module")
def buckets(artifact: Path) -> PaddedBuckets:
    graph = (artifact / "model.onnx").read_bytes()
    session = Session(graph, artifact, device="cpu", threads=1, spinning=False)
    assert "attention_mask" in session.input_names
    return PaddedBuckets(session, max_tokens=1_024, max_length=MAX_LENGTH, padding=0)


def run_all(runner: PaddedBuckets, rows: TokenRows) -> np.ndarray:
    logits = np.full((len(rows.lengths), 2), np.nan, dtype=np.float32)
    for bucket in runner.plan(rows.lengths, 1):
        logits[bucket.rows] = runner.run(rows, bucket)
    return logits


def test_padded_buckets_answer_as_equal_lengths_do(
    classifier: onnxpress.Classifier, buckets: PaddedBuckets, texts: list[str]
) -> None:
    pairs = list(zip(texts[:30], texts[30:60], strict=True))
    for wanted in (texts, pairs, texts[:1]):
        found = run_all(buckets, classifier._encoder.encode(wanted))
        np.testing.assert_allclose(found, classifier.logits(wanted), rtol=0, atol=ATOL)


def test_a_shape_keeps_its_buffers_and_not_its_answers(
    classifier: onnxpress.Classifier, buckets: PaddedBuckets
) -> None:
    """The second run of a shape must not see the first one's tokens."""
    first, second = (classifier._encoder.encode([text]) for text in ("good " * 5, "bad dull"))
    long = run_all(buckets, first)
    shapes = len(buckets._slots)
    assert np.abs(run_all(buckets, second) - long).max() > 100 * ATOL
    assert np.array_equal(run_all(buckets, first), long) and len(buckets._slots) == shapes


def test_work_left_to_the_cpu_is_found() -> None:
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    assert nodes_left_to_the_cpu([(cpu, "Shape"), (cpu, "Gather"), (cuda, "MatMul")]) == []
    assert nodes_left_to_the_cpu([(cpu, "MatMul"), (cpu, "Gelu"), (cpu, "MatMul"), (cuda, "Gemm")]) == [
        "Gelu",
        "MatMul",
    ]
