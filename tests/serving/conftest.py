"""A classifier whose runs a test can hold, and count."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import onnxpress
from onnxpress.answers.answered import Answered
from onnxpress.inputs.encoder import TokenRows


class Gate:
    """Stands before a classifier's runs.

    Attributes:
        sizes: Rows of each run that began, in order.
        lengths: Tokens of each of their rows.
    """

    def __init__(self, classifier: onnxpress.Classifier) -> None:
        self.sizes: list[int] = []
        self.lengths: list[list[int]] = []
        self.error: BaseException | None = None
        self._open = threading.Event()
        self._open.set()
        self._began = threading.Semaphore(0)
        mixed = classifier.mixed()
        self._answer = mixed.answer
        mixed.answer = self._held  # type: ignore[method-assign]

    def shut(self) -> None:
        """Hold the runs that begin from now on."""
        self._open.clear()

    def open(self) -> None:
        """Let them go."""
        self._open.set()

    def wait_for_a_run(self) -> None:
        """Until one more run has begun."""
        assert self._began.acquire(timeout=20), "no run began"

    def _held(self, rows: TokenRows) -> Answered:
        self.sizes.append(len(rows.lengths))
        self.lengths.append(rows.lengths.tolist())
        self._began.release()
        assert self._open.wait(timeout=20), "the test left the gate shut"
        if self.error is not None:
            raise self.error
        return self._answer(rows)


@pytest.fixture
def classifier(artifact: Path) -> Iterator[onnxpress.Classifier]:
    with onnxpress.load(artifact, threads=1, spinning=False) as opened:
        yield opened


@pytest.fixture
def gate(classifier: onnxpress.Classifier) -> Gate:
    return Gate(classifier)
