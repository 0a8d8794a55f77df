"""The queue of a service, and the threads that empty it."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from onnxpress.classifier import Classifier
from onnxpress.encoder import TokenRows
from onnxpress.errors import ClosedError, ConfigError, DeadlineExceededError, OverloadedError, RunError
from onnxpress.serving.metrics import Recorder, ServiceMetrics

__all__ = ["Batcher", "QueueLimits", "Request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How much may wait, and how long for company.

    Attributes:
        max_requests: Requests that wait, at least 1.
        max_tokens: Tokens of these together. A longer request is taken when nothing else waits.
        max_delay: Seconds that a request may wait for others to join its batch, 0 for none: those join that wait
            while a run is in flight.
    """

    max_requests: int = 1_024
    max_tokens: int = 65_536
    max_delay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("max_requests", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.max_delay < math.inf:
            raise ConfigError(f"max_delay_ms must be 0 or more, got {self.max_delay * 1_000:g}")


@dataclass(slots=True, eq=False)
class Request:
    """One text on its way.

    Attributes:
        rows: The text's tokens: one row, or one for each window.
        timeout: Seconds until nobody waits for it any more; infinite without a limit.
        future: Its logits, float32 [labels].
        came: When, in `time.monotonic` seconds.
        left: Whether it waits no longer.
    """

    rows: TokenRows
    timeout: float = math.inf
    future: Future[NDArray[np.float32]] = field(default_factory=Future)
    came: float = field(default_factory=monotonic)
    left: bool = False

    @property
    def tokens(self) -> int:
        """Of all its rows."""
        return int(self.rows.lengths.sum())


class Batcher:
    """Runs requests in batches: the oldest that waits, and with it those that fit the same shape.

    Every request's future is resolved exactly once, whatever happens.
    """

    def __init__(self, classifier: Classifier, limits: QueueLimits) -> None:
        self._classifier = classifier
        self._limits = limits
        self._recorder = Recorder()
        self._changed = threading.Condition()
        self._arrived: deque[Request] = deque()  # in order; those that left are dropped when they come first
        self._shapes: dict[int, deque[Request]] = {}
        self._outside: deque[Request] = deque()  # callers that wait for room
        self._waiting = 0
        self._tokens = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"onnxpress-serving-{number}", daemon=True)
            for number in range(classifier.workers)
        ]
        for thread in self._threads:
            thread.start()

    def refuse_when_full(self) -> None:
        """Raise OverloadedError where no request at all may come: known before its text is tokenized."""
        with self._changed:
            if not self._closed and (error := self._too_many()) is not None:
                self._recorder.ended("refused")
                raise error

    def put(self, request: Request, *, wait: bool) -> None:
        """Queue `request`; where the queue is full, its caller waits for room with the answer, or is refused.

        Raises:
            ClosedError: The service is closed.
            OverloadedError: The queue is full, and `wait` is false.
        """
        request.future.add_done_callback(lambda future: self._gone(request))
        with self._changed:
            if self._closed:
                raise ClosedError("service")
            if not self._outside and self._fits(request):
                self._admit(request)
                return
            if not wait:
                self._recorder.ended("refused")
                raise self._overloaded(request)
            self._outside.append(request)

    def metrics(self) -> ServiceMetrics:
        """The state now."""
        with self._changed:
            return self._recorder.metrics(
                waiting=self._waiting + len(self._outside),
                waiting_tokens=self._tokens,
            )

    def close(self, timeout: float | None = None) -> None:
        """Take nothing more, answer all that waits for at most `timeout` seconds, fail the rest, and stop."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        ends = math.inf if timeout is None else monotonic() + timeout
        for thread in self._threads:
            thread.join(None if timeout is None else max(0.0, ends - monotonic()))
        with self._changed:
            inside = [request for request in self._arrived if not request.left]
            for request in inside:
                self._leave(request)
            rest = [*inside, *self._outside]
            self._outside.clear()
            self._shapes.clear()
            self._changed.notify_all()
        for request in rest:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(ClosedError("service"))
                self._recorder.ended("failed")
        for thread in self._threads:
            thread.join()

    def _fits(self, request: Request) -> bool:
        if not self._waiting:
            return True
        limits = self._limits
        return self._waiting < limits.max_requests and self._tokens + request.tokens <= limits.max_tokens

    def _overloaded(self, request: Request) -> OverloadedError:
        return self._too_many() or OverloadedError("tokens", self._tokens + request.tokens, self._limits.max_tokens)

    def _too_many(self) -> OverloadedError | None:
        """What any further request meets; None where one may come."""
        waiting, limit = self._waiting, self._limits.max_requests
        return OverloadedError("requests", waiting + 1, limit) if waiting >= limit else None

    def _admit(self, request: Request) -> None:
        self._recorder.came(self._waiting)
        self._waiting += 1
        self._tokens += request.tokens
        self._arrived.append(request)
        self._shapes.setdefault(self._shape(request), deque()).append(request)
        self._changed.notify()

    def _shape(self, request: Request) -> int:
        """What requests of one batch share; a text of several windows runs alone."""
        return self._classifier.shape_of(int(request.rows.lengths[0])) if len(request.rows.lengths) == 1 else 0

    def _leave(self, request: Request) -> None:
        request.left = True
        self._waiting -= 1
        self._tokens -= request.tokens

    def _gone(self, request: Request) -> None:
        """A future was resolved: what was cancelled makes room."""
        if not request.future.cancelled():
            return
        with self._changed:
            self._recorder.ended("expired" if monotonic() >= request.came + request.timeout else "cancelled")
            if request.left:
                return
            if request in self._outside:
                self._outside.remove(request)
                self._let_in()  # a large one at the head held back smaller ones that fit
                return
            self._leave(request)
            self._shapes[self._shape(request)].remove(request)
            self._let_in()

    def _let_in(self) -> None:
        while self._outside and self._fits(self._outside[0]):
            self._admit(self._outside.popleft())

    def _serve(self) -> None:
        while (taken := self._take()) is not None:
            batch, expired = taken
            for request in expired:
                if request.future.set_running_or_notify_cancel():
                    request.future.set_exception(DeadlineExceededError(request.timeout))
                    self._recorder.ended("expired")
            batch = [request for request in batch if request.future.set_running_or_notify_cancel()]
            if batch:
                self._answer(batch)

    def _answer(self, batch: Sequence[Request]) -> None:
        try:
            logits = self._classifier.run(_joined(batch))
        except RunError as error:
            if len(batch) > 1:  # one request's text may be the reason: the others are answered
                for request in batch:
                    self._answer([request])
                return
            self._recorder.ended("failed")
            batch[0].future.set_exception(error)
            return
        except BaseException as error:  # every caller is told, whatever it is
            self._recorder.ended("failed", len(batch))
            for request in batch:
                request.future.set_exception(error)
            return
        now = monotonic()
        self._recorder.ran([now - request.came for request in batch])
        for request, row in zip(batch, logits, strict=True):
            request.future.set_result(row)

    def _take(self) -> tuple[list[Request], list[Request]] | None:
        """Requests to run, and those whose time is over; None when the service is closed and nothing waits."""
        with self._changed:
            while True:
                while self._arrived and self._arrived[0].left:
                    self._arrived.popleft()
                if not self._arrived:
                    if self._closed:
                        return None
                    self._changed.wait()
                    continue
                oldest, now = self._arrived[0], monotonic()
                shape = self._shape(oldest)
                if self._waits_for_company(shape, oldest, now):
                    continue
                batch, expired = self._pick(shape, now)
                self._let_in()
                return batch, expired

    def _waits_for_company(self, shape: int, oldest: Request, now: float) -> bool:
        delay = oldest.came + self._limits.max_delay - now
        full = not shape or sum(request.tokens for request in self._shapes[shape]) >= self._classifier.max_tokens
        if delay <= 0 or full or self._closed:
            return False
        self._changed.wait(delay)
        return True

    def _pick(self, shape: int, now: float) -> tuple[list[Request], list[Request]]:
        """Take the requests of `shape` that make a batch, oldest first."""
        queue = self._shapes[shape]
        batch: list[Request] = []
        expired: list[Request] = []
        tokens = 0
        while queue and (not batch or (shape and tokens + queue[0].tokens <= self._classifier.max_tokens)):
            request = queue.popleft()
            tokens += request.tokens
            self._leave(request)
            (expired if request.came + request.timeout <= now else batch).append(request)
        if not queue:
            del self._shapes[shape]
        return batch, expired


def _joined(batch: Sequence[Request]) -> TokenRows:
    if len(batch) == 1:
        return batch[0].rows
    return TokenRows(
        list(chain.from_iterable(request.rows.encodings for request in batch)),
        np.concatenate([request.rows.lengths for request in batch]),
    )
