"""What goes wrong in a run is an error of ours that names the text; what is no number is no answer."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxpress
from onnxpress import RunError
from onnxpress.artifacts.artifact import open_artifact
from tests.conftest import MAX_LENGTH


class Native:
    """Stands for ONNX Runtime's session; `spoil` may change the logits of its rows, or raise."""

    def __init__(self, real: Any, spoil: Callable[[NDArray[np.int64], NDArray[np.float32]], None]) -> None:
        self._real, self._spoil = real, spoil

    def run(self, names: Sequence[str], inputs: Mapping[str, NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        (logits,) = self._real.run(names, inputs)
        self._spoil(inputs["input_ids"], logits)
        return [logits]


def spoiled(classifier: onnxpress.Classifier, spoil: Callable[..., None]) -> None:
    session = classifier._cascade.main.session
    session._session = Native(session._session, spoil)  # type: ignore[union-attr]


def word(path: Path, text: str) -> int:
    with onnxpress.load(path, threads=1) as classifier:
        return int(classifier.encode([text]).encodings[0].ids[1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("optimize_for", ["latency", "throughput"])
def test_logits_that_are_not_finite_are_no_answer(artifact: Path, value: float, optimize_for: str) -> None:
    bad = word(artifact, "worst")

    def spoil(ids: NDArray[np.int64], logits: NDArray[np.float32]) -> None:
        logits[(ids == bad).any(axis=1), 1] = value

    with onnxpress.load(artifact, optimize_for=optimize_for, threads=2, max_texts=3) as classifier:  # type: ignore[arg-type]
        texts = ["good", "good", "fine film", "dull", "dull", "the worst", "good"]
        wanted = classifier.logits(texts[:5])
        spoiled(classifier, spoil)
        calls: list[Callable[[], object]] = [
            lambda: classifier(texts),
            lambda: classifier(texts, top_k=1),
            lambda: classifier.logits(texts),
            lambda: classifier.probabilities(texts),
            lambda: classifier.accepted(texts),
            lambda: classifier.run(classifier.encode(texts)),
            lambda: list(classifier.stream(texts)),
            lambda: list(classifier.stream_probabilities([texts])),
        ]
        for call in calls:
            with pytest.raises(
                RunError, match=r"text 5 cannot be answered: its logits are not finite \(.*\)\."
            ) as told:
                call()
            assert told.value.index == 5
        assert np.array_equal(classifier.logits(texts[:5]), wanted)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_one_window_is_enough(artifact: Path, pooling: str) -> None:
    bad = word(artifact, "worst")

    def spoil(ids: NDArray[np.int64], logits: NDArray[np.float32]) -> None:
        logits[(ids == bad).any(axis=1)] = -np.inf  # the largest of the windows would hide it

    with onnxpress.load(artifact, long_text="windows", pooling=pooling, threads=1) as classifier:  # type: ignore[arg-type]
        spoiled(classifier, spoil)
        long = "good " * (2 * MAX_LENGTH)
        with pytest.raises(RunError, match="text 2 cannot be answered"):
            classifier(["good", long, long + "worst", long])


@pytest.mark.parametrize("optimize_for", ["latency", "throughput"])
def test_what_onnxruntime_raises_is_ours_in_one_line(artifact: Path, optimize_for: str) -> None:
    def fail(ids: NDArray[np.int64], logits: NDArray[np.float32]) -> None:
        if ids.shape[1] == 4:
            raise Exception("[ONNXRuntimeError] : 6 : Failed to allocate 2 bytes\nline two")

    with onnxpress.load(artifact, optimize_for=optimize_for, threads=2) as classifier:  # type: ignore[arg-type]
        spoiled(classifier, fail)
        with pytest.raises(RunError) as caught:
            classifier(["good", "good", "good film", "dull"])
    assert caught.value.index == 2 and "Failed to allocate 2 bytes" in str(caught.value)
    assert "\n" not in str(caught.value) and caught.value.__cause__ is not None
    assert isinstance(caught.value, onnxpress.OnnxpressError)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.index, copy.reason) == (str(caught.value), 2, caught.value.reason)


def test_a_real_failure_of_onnxruntime_is_ours_too(artifact: Path) -> None:
    with onnxpress.load(artifact, threads=1) as classifier:
        rows = classifier.encode(["good", "good film"])
        rows.encodings[1].ids[1] = 10**6  # beyond the embedding table
        with pytest.raises(RunError, match=r"text 1 cannot be answered: ONNX Runtime failed \(.*indices"):
            classifier.run(rows)
        assert classifier("good").label


def test_a_service_answers_the_others(artifact: Path) -> None:
    bad = word(artifact, "worst")

    def spoil(ids: NDArray[np.int64], logits: NDArray[np.float32]) -> None:
        logits[(ids == bad).any(axis=1)] = np.nan

    with onnxpress.load(artifact, threads=1) as classifier:
        spoiled(classifier.mixed(), spoil)
        with onnxpress.ThreadedClassifier(classifier, max_delay_ms=200) as service:
            futures = [service.submit(text) for text in ("good", "the worst", "dull film", "worst")]
            assert [future.exception(timeout=60) is None for future in futures] == [True, False, True, False]
            error = futures[1].exception()
            assert isinstance(error, RunError) and error.index == 0
        np.testing.assert_allclose(futures[0].result(), classifier.logits(["good"])[0], rtol=0, atol=1e-5)


def test_a_graph_that_cannot_be_run_is_no_artifact(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, inputs: object) -> None:
        raise RunError(0, "ONNX Runtime failed (no kernel).")

    monkeypatch.setattr("onnxpress.sessions.session.Session.run", fail)
    with pytest.raises(onnxpress.ArtifactIntegrityError, match=r"its graph cannot be run: .*no kernel"):
        onnxpress.load(artifact)
    assert open_artifact(artifact)
