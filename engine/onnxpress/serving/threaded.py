"""A classifier for many threads that each have one text."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import overload

import numpy as np
from numpy.typing import NDArray

from onnxpress.classifier import Classifier
from onnxpress.errors import DeadlineExceededError
from onnxpress.predictions import Prediction, require_top_k
from onnxpress.serving.batcher import QueueLimits
from onnxpress.serving.metrics import ServiceMetrics
from onnxpress.serving.service import Service, WhenFull
from onnxpress.texts import LoneText

__all__ = ["ThreadedClassifier"]


class ThreadedClassifier:
    """`AsyncClassifier` for callers that are threads.

    with onnxpress.ThreadedClassifier(classifier) as service:
        prediction = service.classify("great film")
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        max_requests: int = 1_024,
        max_tokens: int = 65_536,
        max_delay_ms: float = 0.0,
        when_full: WhenFull = "raise",
    ) -> None:
        """Start serving; arguments and errors are those of `AsyncClassifier`."""
        limits = QueueLimits(max_requests=max_requests, max_tokens=max_tokens, max_delay=max_delay_ms / 1_000)
        self._service = Service(classifier, limits, when_full)

    @overload
    def classify(self, text: LoneText, *, top_k: None = None, timeout: float | None = None) -> Prediction: ...
    @overload
    def classify(self, text: LoneText, *, top_k: int, timeout: float | None = None) -> list[Prediction]: ...

    def classify(
        self, text: LoneText, *, top_k: int | None = None, timeout: float | None = None
    ) -> Prediction | list[Prediction]:
        """Classify one text, or a pair; arguments and errors are those of `AsyncClassifier.classify`."""
        require_top_k(top_k)
        future = self.submit(text, timeout=timeout)
        try:
            logits = future.result(timeout)
        except (FutureTimeoutError, DeadlineExceededError):
            future.cancel()
            assert timeout is not None
            raise DeadlineExceededError(timeout) from None
        return self._service.best(logits) if top_k is None else self._service.top(logits, top_k)

    def submit(self, text: LoneText, *, timeout: float | None = None) -> Future[NDArray[np.float32]]:
        """Queue one text, or a pair; its logits, float32 [labels], come by the future, which may be cancelled.

        Raises:
            TextError: The text cannot be classified.
            OverloadedError: Too much waits, and `when_full` is "raise".
            ClosedError: The service is closed.
        """
        request = self._service.request(text, timeout)
        self._service.put(request)
        return request.future

    def metrics(self) -> ServiceMetrics:
        """What was done so far, and what waits."""
        return self._service.metrics()

    def close(self, timeout: float | None = None) -> None:
        """Take nothing more, answer what waits for at most `timeout` seconds, and fail the rest with ClosedError."""
        self._service.close(timeout)

    def __enter__(self) -> ThreadedClassifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
