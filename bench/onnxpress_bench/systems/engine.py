"""This engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

import onnxpress
from onnxpress_bench.systems.spec import SystemSpec, Text

__all__ = ["Engine"]


class Engine:
    """A variant of an artifact, in one of the engine's two settings."""

    def __init__(self, spec: SystemSpec) -> None:
        assert spec.optimize_for is not None
        self._classifier = onnxpress.load(
            spec.model, optimize_for=spec.optimize_for, precision=spec.precision, device="cpu"
        )
        self.labels = self._classifier.labels

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Raw scores [texts, labels], in order."""
        return self._classifier.logits(texts)

    def encode(self, texts: Sequence[Text]) -> Any:
        """The texts tokenized."""
        return self._classifier.encode(texts)

    def run(self, encoded: Any) -> None:
        """The model alone."""
        self._classifier.run(encoded)

    def serve(self) -> _Service:
        """The engine's own service."""
        return _Service(self._classifier)


class _Service:
    def __init__(self, classifier: onnxpress.Classifier) -> None:
        # Everything waits, as with the peers: shedding load would flatter the latencies of what is left.
        self._service = onnxpress.ThreadedClassifier(classifier, max_requests=10**6, max_tokens=10**9)
        self._failure: BaseException | None = None

    def submit(self, text: Text, done: Callable[[], None]) -> None:
        def finish(future: Future[NDArray[np.float32]]) -> None:
            self._failure = self._failure or future.exception()
            done()

        self._service.submit(text).add_done_callback(finish)

    def close(self) -> None:
        self._service.close()
        if self._failure is not None:
            raise self._failure
