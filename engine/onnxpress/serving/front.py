"""How a service is made and what it tells, for whichever callers it serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from onnxpress.errors import ClosedError, DeadlineExceededError
from onnxpress.model import Model
from onnxpress.serving.metrics import ServiceMetrics
from onnxpress.serving.request import QueueLimits, Request
from onnxpress.serving.service import Service, WhenFull
from onnxpress.sessions.ending import native

__all__ = ["Front", "ServedModel"]

ServedModel = TypeVar("ServedModel", bound=Model)


class Front(Generic[ServedModel]):
    """What services for event loops and for threads share, beside the service itself."""

    def __init__(
        self,
        classifier: ServedModel,
        *,
        max_requests: int = 1_024,
        max_tokens: int = 65_536,
        max_callers: int = 4_096,
        max_delay_ms: float = 0.0,
        when_full: WhenFull = "raise",
    ) -> None:
        """Start serving with `classifier`, on as many threads as it runs batches at once.

        Args:
            classifier: What answers.
            max_requests: Requests that may wait; each text of a call is one.
            max_tokens: Tokens of these together; a longer text is taken when nothing else waits.
            max_callers: Requests that may be in line for room, where `when_full` is "wait".
            max_delay_ms: How long a request may wait for others to join its batch while nothing runs.
            when_full: What a request meets where no more may wait: "raise" raises OverloadedError at once, "wait" lets
                the caller wait for room, and then for the answer.

        Raises:
            ConfigError: A setting is outside its range.
        """
        limits = QueueLimits(
            max_requests=max_requests, max_tokens=max_tokens, max_callers=max_callers, max_delay=max_delay_ms / 1_000
        )
        self._classifier = classifier
        self._service = Service(classifier, limits, when_full)

    def metrics(self) -> ServiceMetrics:
        """What was done so far, and what waits."""
        return self._service.metrics()

    @contextmanager
    def _entered(self, count: int, timeout: float | None) -> Iterator[list[Request]]:
        """Requests for `count` texts, which nobody wants any more behind the block; a TimeoutError in it is theirs.

        Raises:
            OverloadedError: Too much waits, and `when_full` is "raise", or too many callers wait for room.
            DeadlineExceededError: There was no answer in time.
            ClosedError: The service is closed, or was before it came to these requests.
        """
        try:
            requests = self._service.enter(count, timeout)
            try:
                yield requests
            finally:
                for request in requests:
                    request.future.cancel()
        except TimeoutError:
            assert timeout is not None
            raise DeadlineExceededError(timeout) from None
        except ClosedError:
            native.hold_daemon()
            raise
