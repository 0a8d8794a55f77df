"""What the engine promises of CUDA, on CUDA; each on the CPU too where only the device is new."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxpress
from onnxpress import CudaSettings
from onnxpress.artifacts.artifact import open_artifact
from onnxpress.errors import DeviceUnavailableError
from onnxpress.running.runner import PaddedBuckets
from onnxpress.sessions.session import PROVIDERS, Device, Session
from onnxpress_bench.cuda.measure import open_buckets

pytestmark = pytest.mark.cuda

FP32 = 1e-4  # sums in another order over two layers, logits of order 1
TF32 = 5e-2  # products of inputs rounded to 10 bits
FP16 = 5e-2  # as many bits, in everything but what overflows


def only_on(device: Device, wanted: Device) -> None:
    if device != wanted:
        pytest.skip("needs the device")


@pytest.fixture(scope="module")
def here(half_artifact: Path) -> Iterator[onnxpress.Classifier]:
    with onnxpress.load(half_artifact, device="cpu", precision="fp32") as classifier:
        yield classifier


def answers(runner: PaddedBuckets, here: onnxpress.Classifier, texts: list[str]) -> NDArray[np.float32]:
    rows = here.encode(texts)
    logits = np.full((len(texts), len(here.labels)), np.nan, dtype=np.float32)
    for bucket in runner.plan(rows.lengths, 1):
        logits[bucket.rows] = runner.run(rows, bucket)
    return logits


def test_the_session_runs_on_the_device(half_artifact: Path, device: Device) -> None:
    """`Session` refuses one that leaves work to the CPU."""
    for precision in ("fp32", "fp16"):
        session = open_buckets(half_artifact, precision, device).session
        assert session.inference_session.get_providers()[0] == PROVIDERS[device]


def test_load_takes_the_device_and_the_fastest_precision(half_artifact: Path, device: Device, texts: list[str]) -> None:
    with onnxpress.load(half_artifact, device=device) as classifier:
        assert classifier.device == device
        assert classifier.precision == ("fp16" if device == "cuda" else "fp32")
        assert len(classifier(texts)) == len(texts)


@pytest.mark.parametrize(("precision", "tolerance", "may_change"), [("fp32", FP32, 0.0), ("fp16", FP16, 0.02)])
def test_answers_are_the_cpus(
    half_artifact: Path,
    device: Device,
    here: onnxpress.Classifier,
    texts: list[str],
    precision: str,
    tolerance: float,
    may_change: float,
) -> None:
    found, wanted = answers(open_buckets(half_artifact, precision, device), here, texts), here.logits(texts)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)
    assert (found.argmax(axis=1) != wanted.argmax(axis=1)).mean() <= may_change


def test_tf32_is_off_unless_asked_for(
    half_artifact: Path, device: Device, here: onnxpress.Classifier, texts: list[str]
) -> None:
    rounded = open_buckets(half_artifact, "fp32", device, cuda=CudaSettings(tf32=True))
    np.testing.assert_allclose(answers(rounded, here, texts), here.logits(texts), rtol=0, atol=TF32)


@pytest.mark.parametrize("graphs", [False, True])
def test_buffers_and_recorded_graphs_keep_no_answer(
    half_artifact: Path, device: Device, here: onnxpress.Classifier, texts: list[str], graphs: bool
) -> None:
    """Shapes run again with other texts between: each answers its own."""
    runner = open_buckets(half_artifact, "fp32", device, cuda=CudaSettings(graphs=graphs))
    first = answers(runner, here, texts)
    answers(runner, here, texts[::-1])
    again = answers(runner, here, texts)
    assert np.array_equal(first, again)
    np.testing.assert_allclose(first, here.logits(texts), rtol=0, atol=FP32)


def test_a_memory_limit_that_suffices_changes_nothing(
    half_artifact: Path, device: Device, here: onnxpress.Classifier, texts: list[str]
) -> None:
    runner = open_buckets(half_artifact, "fp32", device, cuda=CudaSettings(memory_limit=2**30))
    np.testing.assert_allclose(answers(runner, here, texts), here.logits(texts), rtol=0, atol=FP32)


def test_too_little_memory_is_told_in_one_line(half_artifact: Path, device: Device, texts: list[str]) -> None:
    only_on(device, "cuda")
    with pytest.raises(onnxpress.OnnxpressError) as told:
        with onnxpress.load(half_artifact, device="cuda", cuda=CudaSettings(memory_limit=2**16)) as classifier:
            classifier(texts)
    assert "\n" not in str(told.value)


SECOND = """
import sys, onnxpress
with onnxpress.load(sys.argv[1], device=sys.argv[2]) as classifier:
    print(classifier.device, *[answer.label for answer in classifier(sys.argv[3:])])
"""


def run_second(artifact: Path, device: str, texts: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SECOND, artifact, device, *texts],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_two_processes_share_the_device(half_artifact: Path, device: Device, texts: list[str]) -> None:
    with onnxpress.load(half_artifact, device=device) as classifier:
        wanted = [answer.label for answer in classifier(texts[:20])]
        done = run_second(half_artifact, device, texts[:20])
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [device, *wanted]
        assert [answer.label for answer in classifier(texts[:20])] == wanted


@pytest.mark.parametrize("number", [99, 999])
def test_a_device_that_is_not_there_is_refused_in_one_line(half_artifact: Path, number: int) -> None:
    with pytest.raises(DeviceUnavailableError) as told:
        onnxpress.load(half_artifact, device=f"cuda:{number}")
    assert f"cuda:{number}" in str(told.value) and "\n" not in str(told.value)


def test_a_device_that_was_lost_is_refused_and_auto_goes_on(half_artifact: Path, texts: list[str]) -> None:
    """As the driver shows it to a process: none is visible any more."""
    lost = run_second(half_artifact, "cuda", texts[:2], CUDA_VISIBLE_DEVICES="")
    assert lost.returncode != 0 and "DeviceUnavailableError" in lost.stderr.strip().splitlines()[-1]
    other = run_second(half_artifact, "auto", texts[:2], CUDA_VISIBLE_DEVICES="")
    assert other.returncode == 0 and other.stdout.startswith("cpu "), other.stderr


def test_the_packed_graph_runs_or_names_what_lacks_a_kernel(
    half_artifact: Path, device: Device, here: onnxpress.Classifier, texts: list[str]
) -> None:
    opened = open_artifact(half_artifact)
    variant = opened.variant("fp32", "cpu")
    assert variant.packed is not None
    try:
        session = Session(
            opened.read_graph(variant.packed.file, variant.weights),
            half_artifact.resolve(),
            device=device,
            threads=1,
            spinning=False,
        )
    except DeviceUnavailableError as error:
        pytest.skip(str(error))
    rows = here.encode(texts[:8])
    width = int(rows.lengths.max())
    inputs = {name: np.zeros((8, width), dtype=np.int64) for name in session.input_names}
    for place, length in enumerate(rows.lengths):
        for name, content in inputs.items():
            content[place, :length] = rows.column(np.intp(place), name)
    np.testing.assert_allclose(session.run(inputs), here.logits(texts[:8]), rtol=0, atol=FP32)
