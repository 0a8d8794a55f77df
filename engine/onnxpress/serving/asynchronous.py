"""A classifier for many concurrent callers of one event loop."""

from __future__ import annotations

import asyncio
from functools import partial
from types import TracebackType
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

from onnxpress.classifier import Classifier
from onnxpress.errors import DeadlineExceededError
from onnxpress.predictions import Prediction, require_top_k
from onnxpress.serving.batcher import QueueLimits
from onnxpress.serving.metrics import ServiceMetrics
from onnxpress.serving.service import Service, WhenFull
from onnxpress.texts import LoneText, as_text

__all__ = ["AsyncClassifier"]

_INLINE_CHARACTERS: Final = 4_096  # tokenized within a millisecond: no longer than handing it to a thread and back


class AsyncClassifier:
    """Answers concurrent requests, in batches of what waits while a run is in flight.

    async with onnxpress.AsyncClassifier(classifier) as service:
        prediction = await service.classify("great film")

    Use it in an `async with`, or close it. The classifier is not closed with it, and may serve others at once.
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
        """Start serving with `classifier`, on as many threads as it runs batches at once.

        Args:
            classifier: What answers.
            max_requests: Requests that may wait.
            max_tokens: Tokens of these together; a longer text is taken when nothing else waits.
            max_delay_ms: How long a request may wait for others to join its batch while nothing runs.
            when_full: What a request meets where no more may wait: "raise" raises OverloadedError at once, "wait" lets
                the caller wait for room, and then for the answer.

        Raises:
            ConfigError: A setting is outside its range.
        """
        limits = QueueLimits(max_requests=max_requests, max_tokens=max_tokens, max_delay=max_delay_ms / 1_000)
        self._service = Service(classifier, limits, when_full)

    @overload
    async def classify(self, text: LoneText, *, top_k: None = None, timeout: float | None = None) -> Prediction: ...
    @overload
    async def classify(self, text: LoneText, *, top_k: int, timeout: float | None = None) -> list[Prediction]: ...

    async def classify(
        self, text: LoneText, *, top_k: int | None = None, timeout: float | None = None
    ) -> Prediction | list[Prediction]:
        """Classify one text, or a pair. Cancelling the call takes the request out of the queue.

        Args:
            text: What to classify.
            top_k: None for the best label alone, or how many labels to return, best first.
            timeout: Seconds within which an answer is of use; None for no limit. What waits longer is not run.

        Raises:
            TextError: The text cannot be classified.
            OverloadedError: Too much waits, and `when_full` is "raise".
            DeadlineExceededError: There was no answer in time.
            ClosedError: The service is closed, or was before it came to this request.
        """
        require_top_k(top_k)
        logits = await self._logits(text, timeout)
        return self._service.best(logits) if top_k is None else self._service.top(logits, top_k)

    def metrics(self) -> ServiceMetrics:
        """What was done so far, and what waits."""
        return self._service.metrics()

    async def close(self, timeout: float | None = None) -> None:
        """Take nothing more, answer what waits for at most `timeout` seconds, and fail the rest with ClosedError."""
        await asyncio.get_running_loop().run_in_executor(None, self._service.close, timeout)

    async def __aenter__(self) -> AsyncClassifier:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _logits(self, text: LoneText, timeout: float | None) -> NDArray[np.float32]:
        loop = asyncio.get_running_loop()
        prepare = partial(self._service.request, text, timeout)
        request = prepare() if _is_short(text) else await loop.run_in_executor(None, prepare)
        self._service.put(request)
        answer = asyncio.wrap_future(request.future)
        if timeout is None:
            return await answer
        try:
            return await asyncio.wait_for(answer, timeout)
        except TimeoutError:
            raise DeadlineExceededError(timeout) from None


def _is_short(text: LoneText) -> bool:
    whole = as_text(text)
    parts: tuple[object, ...] = whole if isinstance(whole, tuple) else (whole,)  # checked later
    return sum(len(part) for part in parts if isinstance(part, str)) <= _INLINE_CHARACTERS
