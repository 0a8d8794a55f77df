"""A classifier for many threads that each have a text, or some."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import overload

import numpy as np
from numpy.typing import NDArray

from onnxpress.classifier import Classifier
from onnxpress.ending import native
from onnxpress.errors import ClosedError, DeadlineExceededError
from onnxpress.predictions import Prediction, require_top_k
from onnxpress.serving.metrics import ServiceMetrics
from onnxpress.serving.request import QueueLimits
from onnxpress.serving.service import Service, WhenFull
from onnxpress.texts import LoneText, Text, as_several, as_text, is_lone

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
        max_callers: int = 4_096,
        max_delay_ms: float = 0.0,
        when_full: WhenFull = "raise",
    ) -> None:
        """Start serving; arguments and errors are those of `AsyncClassifier`."""
        limits = QueueLimits(
            max_requests=max_requests, max_tokens=max_tokens, max_callers=max_callers, max_delay=max_delay_ms / 1_000
        )
        self._service = Service(classifier, limits, when_full)

    # As in `Classifier`: a str is a Sequence[str] to a type checker; at run time the first two overloads win.
    @overload
    def classify(self, texts: LoneText, *, top_k: None = None, timeout: float | None = None) -> Prediction: ...  # type: ignore[overload-overlap]
    @overload
    def classify(self, texts: LoneText, *, top_k: int, timeout: float | None = None) -> list[Prediction]: ...  # type: ignore[overload-overlap]
    @overload
    def classify(
        self, texts: Sequence[Text], *, top_k: None = None, timeout: float | None = None
    ) -> list[Prediction]: ...
    @overload
    def classify(
        self, texts: Sequence[Text], *, top_k: int, timeout: float | None = None
    ) -> list[list[Prediction]]: ...

    def classify(
        self, texts: LoneText | Sequence[Text], *, top_k: int | None = None, timeout: float | None = None
    ) -> Prediction | list[Prediction] | list[list[Prediction]]:
        """Classify a text, a pair, or several; arguments and errors are those of `AsyncClassifier.classify`."""
        require_top_k(top_k)
        found = self._service.predictions(self.logits(texts, timeout=timeout), top_k)
        return found[0] if is_lone(texts) else found

    @overload
    def accepted(self, texts: LoneText, *, timeout: float | None = None) -> list[Prediction]: ...  # type: ignore[overload-overlap]
    @overload
    def accepted(self, texts: Sequence[Text], *, timeout: float | None = None) -> list[list[Prediction]]: ...

    def accepted(
        self, texts: LoneText | Sequence[Text], *, timeout: float | None = None
    ) -> list[Prediction] | list[list[Prediction]]:
        """The labels that reach their thresholds; arguments and errors are those of `AsyncClassifier.accepted`."""
        self._service.require_accepting()
        found = self._service.accepted(self.logits(texts, timeout=timeout))
        return found[0] if is_lone(texts) else found

    def logits(self, texts: LoneText | Sequence[Text], *, timeout: float | None = None) -> NDArray[np.float32]:
        """Raw scores, float32 [texts, labels]; arguments and errors are those of `AsyncClassifier.logits`."""
        several = as_several(texts)
        try:
            requests = self._service.enter(len(several), timeout)
            try:
                self._service.queue(requests, several)
                return self._service.stacked([request.future.result(request.remaining()) for request in requests])
            finally:
                for request in requests:
                    request.future.cancel()
        except TimeoutError:
            assert timeout is not None
            raise DeadlineExceededError(timeout) from None
        except ClosedError:
            native.hold_daemon()
            raise

    def submit(self, text: LoneText, *, timeout: float | None = None) -> Future[NDArray[np.float32]]:
        """Queue one text, or a pair; its logits, float32 [labels], come by the future, which may be cancelled.

        Raises:
            TextError: The text cannot be classified.
            OverloadedError: Too much waits, and `when_full` is "raise", or too many callers wait for room.
            ClosedError: The service is closed.
        """
        texts = [as_text(text)]
        (request,) = requests = self._service.enter(1, timeout)
        self._service.queue(requests, texts)
        return request.future

    def metrics(self) -> ServiceMetrics:
        """What was done so far, and what waits."""
        return self._service.metrics()

    def close(self, timeout: float | None = None) -> None:
        """Take nothing more, answer what waits for at most `timeout` seconds, and fail the rest with ClosedError.

        A run that is under way then is waited for.
        """
        self._service.close(timeout)

    def __enter__(self) -> ThreadedClassifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
