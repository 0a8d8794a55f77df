"""The queue of a service, and the threads that empty it.

Why it is as it is:

- **A request has its place before its text is tokenized.** So what is refused costs nothing, what is being tokenized
  counts against the bounds, and a close waits for it. It is in one place at a time: coming, in line outside, queued or
  gone. Places change under the lock alone; who takes a request out of its place is who ends its future, so that
  each ends once, however cancelling, expiring, answering and closing meet. Futures are ended outside the lock: their
  callbacks are others' code.
- **Nothing under the lock grows with what waits.** Numbers and tokens are running totals, leaving is a look-up by the
  request, and a batch looks at no more rows than it takes, beside those that have expired.
- **A batch is one that the runner would make.** Rows wait by their shape, the width that they are padded to. The oldest
  request is always in the next batch; beside it come, oldest first, those of its width and of the widths that are
  worth sharing a run with (`planner.widths_together`). The alternative, what came first up to a number of tokens, lets
  one long text widen all others: 40 short ones and one of 382 tokens took five times as long as one by one.
- **No delay by default.** Batches form while a run is in flight: alone, a request begins at once; under load there is
  company. A delay pays only where runs are much shorter than the gaps between arrivals.
- **Expired requests are dropped as they are come upon**, not by a thread of their own: a caller that waits has its own
  clock, and one that looks at its future later finds the same answer.
- **The threads are daemons**, since a service that nobody closes must not keep a program from ending. `ending` closes
  it then.

What would force a change: a device that wants the next batch prepared while one runs (a GPU with copies in flight), or
requests of different urgency.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import chain
from time import monotonic
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onnxpress.errors import ClosedError, DeadlineExceededError, OverloadedError, RunError
from onnxpress.inputs.encoder import TokenRows
from onnxpress.model import Model
from onnxpress.running.runner import Company
from onnxpress.serving.answers import AnswerRecorder
from onnxpress.serving.metrics import Recorder, ServiceMetrics
from onnxpress.serving.request import Place, QueueLimits, Request
from onnxpress.sessions.ending import native

__all__ = ["Batcher"]


class Batcher:
    """Runs requests in batches: the oldest that waits, and with it those that it is worth running beside.

    Every request's future is resolved exactly once, whatever happens.
    """

    def __init__(self, model: Model, limits: QueueLimits) -> None:
        self._model = model
        self._limits = limits
        self._recorder = Recorder(AnswerRecorder(model.labels, model.stages, model.task, model.certified))
        self._changed = threading.Condition()
        self._coming: dict[Request, None] = {}
        self._outside: OrderedDict[Request, None] = OrderedDict()
        self._queued: OrderedDict[Request, None] = OrderedDict()
        self._shapes: dict[int, OrderedDict[Request, None]] = {}  # what is queued, by shape; none is empty
        self._tokens = 0
        self._number = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"onnxpress-serving-{number}", daemon=True)
            for number in range(model.workers)
        ]
        for thread in self._threads:
            thread.start()
        native.close_at_end(self)

    def enter(self, requests: Sequence[Request], *, wait: bool) -> None:
        """Give `requests`, whose texts are yet to be tokenized, their places; all of them, or none.

        Each must then be `put` or `withdrawn`; one whose future is cancelled has left by that.

        Raises:
            ClosedError: The service is closed.
            OverloadedError: There is no room for so many; where they may `wait` for it, none in the line either.
        """
        with self._changed:
            if self._closed:
                raise ClosedError("service")
            inside, limits = len(self._queued) + len(self._coming) + len(requests), self._limits
            beyond = inside + len(self._outside) - limits.max_requests
            if wait and beyond > limits.max_callers:
                self._recorder.ended("refused", len(requests))
                raise OverloadedError("callers", beyond, limits.max_callers)
            if not wait and beyond > 0:
                self._recorder.ended("refused", len(requests))
                raise OverloadedError("requests", inside, limits.max_requests)
            for request in requests:
                request.place = Place.COMING
                self._coming[request] = None
        for request in requests:
            request.future.add_done_callback(partial(self._resolved, request))

    def withdraw(self, requests: Sequence[Request], error: BaseException) -> None:
        """Take back `requests` that entered, and end their futures with `error`. They were never any."""
        with self._changed:
            taken = [request for request in requests if self._leave(request)]
        for request in taken:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(error)

    def put(self, requests: Sequence[Request], *, wait: bool) -> None:
        """Queue `requests`, which entered and have their rows; what has left meanwhile is passed over.

        Where the queue has no room for their tokens, they wait for it in line, or all are refused.

        Raises:
            OverloadedError: There is no room for the tokens, and `wait` is false.
        """
        refusal = None
        with self._changed:
            here = [request for request in requests if self._leave(request)]
            waiting, tokens = self._tokens, sum(request.tokens for request in here)
            if not wait and self._queued and waiting + tokens > self._limits.max_tokens:
                self._recorder.ended("refused", len(here))
                refusal = OverloadedError("tokens", waiting + tokens, self._limits.max_tokens)
            else:
                for request in here:
                    self._recorder.came(len(self._queued) + len(self._outside))
                    if not wait or (not self._outside and self._fits(request)):
                        self._admit(request)
                    else:
                        request.place = Place.OUTSIDE
                        self._outside[request] = None
        if refusal is not None:
            for request in here:
                if request.future.set_running_or_notify_cancel():
                    request.future.set_exception(refusal)
            raise refusal

    def metrics(self) -> ServiceMetrics:
        """The state now."""
        with self._changed:
            return self._recorder.metrics(
                waiting=len(self._queued) + len(self._outside) + len(self._coming),
                waiting_tokens=self._tokens,
            )

    def close(self, timeout: float | None = None) -> None:
        """Take nothing more, answer all that waits for at most `timeout` seconds, fail the rest, and stop.

        A run that is under way then is waited for; its requests are answered.
        """
        ends = math.inf if timeout is None else monotonic() + timeout
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        threads = [thread for thread in self._threads if thread is not threading.current_thread()]
        for thread in threads:
            thread.join(None if ends == math.inf else max(0.0, ends - monotonic()))
        self._fail_all(ClosedError("service"))
        for thread in threads:
            thread.join()

    def _fail_all(self, error: BaseException) -> None:
        """End everything that waits with `error`, and take nothing more."""
        with self._changed:
            self._closed = True
            rest = [*self._coming, *self._queued, *self._outside]
            for request in rest:
                self._leave(request)
            self._changed.notify_all()
        self._end(rest, error, "failed")

    def _fits(self, request: Request) -> bool:
        if not self._queued:
            return True
        limits = self._limits
        return len(self._queued) < limits.max_requests and self._tokens + request.tokens <= limits.max_tokens

    def _admit(self, request: Request) -> None:
        assert request.rows is not None
        lengths = request.rows.lengths
        request.shape = self._model.shape_of(int(lengths[0])) if len(lengths) == 1 else 0
        request.place, request.number = Place.QUEUED, self._number
        self._number += 1
        self._tokens += request.tokens
        self._queued[request] = None
        self._shapes.setdefault(request.shape, OrderedDict())[request] = None
        self._changed.notify()

    def _leave(self, request: Request) -> bool:
        """Take `request` out of its place; False where it is gone already, and another's to end."""
        place, request.place = request.place, Place.GONE
        if place is Place.GONE:
            return False
        if place is Place.QUEUED:
            del self._queued[request]
            self._tokens -= request.tokens
            alike = self._shapes[request.shape]
            del alike[request]
            if not alike:
                del self._shapes[request.shape]
        elif place is Place.OUTSIDE:
            del self._outside[request]
        else:
            del self._coming[request]
        if self._closed and self._is_empty():
            self._changed.notify_all()
        return True

    def _is_empty(self) -> bool:
        return not (self._queued or self._outside or self._coming)

    def _resolved(self, request: Request, future: Future[NDArray[np.float32]]) -> None:
        """A future was ended: one that was cancelled makes room."""
        if not future.cancelled():
            return
        with self._changed:
            self._recorder.ended("expired" if request.is_late() else "cancelled")
            late = self._let_in() if self._leave(request) else []
        self._expire(late)

    def _let_in(self) -> list[Request]:
        """Queue what is in line, as far as there is room. Returns those whose time was over, which have left."""
        late = []
        while self._outside:
            request = next(iter(self._outside))
            if not (is_late := request.is_late()) and not self._fits(request):
                break
            self._leave(request)
            if is_late:
                late.append(request)
            else:
                self._admit(request)
        return late

    def _serve(self) -> None:
        try:
            while (taken := self._take()) is not None:
                batch, late = taken
                self._expire(late)
                if batch := [request for request in batch if request.future.set_running_or_notify_cancel()]:
                    self._answer(batch)
        except BaseException as error:  # a mistake of this module: who waits must not wait for ever
            self._fail_all(error)

    def _answer(self, batch: Sequence[Request]) -> None:
        """Run `batch`, whose futures are running, and end these."""
        try:
            answered = self._model.answer(_joined(batch))
            logits = answered.each()
            if len(logits) != len(batch):
                raise RuntimeError(f"a run of {len(batch)} texts gave {len(logits)} answers")
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
        late = [request.is_late() for request in batch]
        now = monotonic()
        seconds = [now - request.came for request, is_late in zip(batch, late, strict=True) if not is_late]
        if any(late):
            answered = answered.only([place for place, is_late in enumerate(late) if not is_late])
        self._recorder.ran(seconds, answered, late=sum(late))
        for request, row, is_late in zip(batch, logits, late, strict=True):
            if is_late:
                request.future.set_exception(DeadlineExceededError(request.timeout))
            else:
                request.future.set_result(row)

    def _expire(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self._end([request], DeadlineExceededError(request.timeout), "expired")

    def _end(self, requests: Iterable[Request], error: BaseException, outcome: Literal["failed", "expired"]) -> None:
        """End the futures of `requests`, which have left, unless they were cancelled as they did."""
        for request in requests:
            if request.future.set_running_or_notify_cancel():
                self._recorder.ended(outcome)
                request.future.set_exception(error)

    def _take(self) -> tuple[list[Request], list[Request]] | None:
        """Requests to run, and those whose time is over; None when the service is closed and nothing waits."""
        with self._changed:
            while True:
                late = self._let_in()
                if self._queued and (oldest := next(iter(self._queued))).is_late():
                    self._leave(oldest)
                    late.append(oldest)
                if late:
                    return [], late
                if not self._queued:
                    if self._closed and self._is_empty():
                        return None
                    self._changed.wait()
                elif delay := self._wait_for_company(oldest):
                    self._changed.wait(delay)
                else:
                    return self._pick(oldest)

    def _wait_for_company(self, oldest: Request) -> float:
        """Seconds that its batch may wait for more; 0 where it is full, or a batch's tokens wait."""
        delay = oldest.came + self._limits.max_delay - monotonic()
        if delay <= 0 or self._closed or not oldest.shape or self._tokens >= self._model.max_tokens:
            return 0.0
        company = self._company(oldest)
        waiting = sum(len(self._shapes[width]) for width in company.widths)
        return 0.0 if waiting >= company.rows else delay

    def _company(self, oldest: Request) -> Company:
        waiting = {shape: len(alike) for shape, alike in self._shapes.items() if shape}
        return self._model.company(waiting, oldest.shape)

    def _pick(self, oldest: Request) -> tuple[list[Request], list[Request]]:
        """Take the requests that make a batch with `oldest`, and those on the way whose time is over."""
        batch: list[Request] = [oldest]
        late: list[Request] = []
        if oldest.shape:
            company = self._company(oldest)
            by_age = heapq.merge(*(self._shapes[width] for width in company.widths), key=lambda request: request.number)
            next(by_age)
            for request in by_age:
                if len(batch) == company.rows:
                    break
                (late if request.is_late() else batch).append(request)
        for request in (*batch, *late):
            self._leave(request)
        return batch, late + self._let_in()


def _joined(batch: Sequence[Request]) -> TokenRows:
    rows = [request.rows for request in batch if request.rows is not None]
    if len(rows) == 1:
        return rows[0]
    is_cut = [row.cut is not None for row in rows]
    return TokenRows(
        list(chain.from_iterable(row.encodings for row in rows)),
        np.concatenate([row.lengths for row in rows]),
        cut=np.array(is_cut) if any(is_cut) else None,
        texts=list(chain.from_iterable(row.texts for row in rows)),
    )
