"""What the asynchronous and the threaded service share: texts to requests, logits to predictions."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from onnxpress.classifier import Classifier
from onnxpress.errors import ConfigError
from onnxpress.predictions import Prediction, best_labels, top_labels
from onnxpress.serving.batcher import Batcher, QueueLimits, Request
from onnxpress.serving.metrics import ServiceMetrics
from onnxpress.texts import LoneText, as_text

__all__ = ["Service", "WhenFull"]

WhenFull = Literal["raise", "wait"]


class Service:
    """A queue before a classifier. It does not close the classifier."""

    def __init__(self, classifier: Classifier, limits: QueueLimits, when_full: WhenFull) -> None:
        """Raises ConfigError when `when_full` is neither "raise" nor "wait"."""
        if when_full not in get_args(WhenFull):
            raise ConfigError(f"when_full must be {' or '.join(get_args(WhenFull))}, got {when_full!r}")
        self._classifier = classifier
        self._wait = when_full == "wait"
        self._batcher = Batcher(classifier.mixed(), limits)

    def request(self, text: LoneText, timeout: float | None) -> Request:
        """Tokenize `text`, where there is room for a request.

        Raises:
            TextError: It cannot be classified.
            OverloadedError: Too many requests wait, and they may not wait for room.
            ConfigError: `timeout` is not above 0.
        """
        if timeout is not None and not timeout > 0:
            raise ConfigError(f"timeout must be above 0 s, got {timeout!r}")
        if not self._wait:
            self._batcher.refuse_when_full()
        return Request(self._classifier.encode([as_text(text)]), math.inf if timeout is None else timeout)

    def put(self, request: Request) -> None:
        """Queue `request`. Raises as `Batcher.put` does."""
        self._batcher.put(request, wait=self._wait)

    def best(self, logits: NDArray[np.float32]) -> Prediction:
        """The best label, of float32 [labels]."""
        return best_labels(self._classifier.scores(logits[None]), self._classifier.labels)[0]

    def top(self, logits: NDArray[np.float32], top_k: int) -> list[Prediction]:
        """The `top_k` best labels, of float32 [labels]."""
        return top_labels(self._classifier.scores(logits[None]), self._classifier.labels, top_k)[0]

    def metrics(self) -> ServiceMetrics:
        """The state now."""
        return self._batcher.metrics()

    def close(self, timeout: float | None) -> None:
        """Answer what waits for at most `timeout` seconds, fail the rest, and stop."""
        self._batcher.close(timeout)
