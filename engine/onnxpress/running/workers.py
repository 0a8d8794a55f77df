"""Threads that run a classifier's batches, the most urgent first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Final, TypeVar, cast

from onnxpress.system import pin_thread

__all__ = ["Workers"]

_S = TypeVar("_S")
_R = TypeVar("_R")

_MOST_URGENT: Final = 2**30


class Workers:
    """A fixed number of threads.

    Of what waits, the most urgent job is begun first, and of equals the one that came first. So what remains of one
    call is not kept waiting behind all of the next one.
    """

    def __init__(self, threads: int, affinity: Sequence[int] | None = None) -> None:
        """Start `threads` threads, each pinned to the first CPU of its share where `affinity` names them."""
        if affinity is None:
            self._pool = ThreadPoolExecutor(threads, "onnxpress")
        else:
            cpus = iter(affinity[:: len(affinity) // threads])
            self._pool = ThreadPoolExecutor(threads, "onnxpress", initializer=lambda: pin_thread(next(cpus)))
        self._waiting: list[tuple[int, int, Future[None], Callable[[], None]]] = []
        self._lock = threading.Lock()
        self._numbers = count()

    def submit(self, job: Callable[[], None], *, urgency: int = 0) -> Future[None]:
        """Run `job` on one of the threads. The future tells when it is done, and raises what it raised."""
        done: Future[None] = Future()
        with self._lock:
            heappush(self._waiting, (-urgency, next(self._numbers), done, job))
        self._pool.submit(self._run_next)
        return done

    def map(self, function: Callable[[_S], _R], values: Sequence[_S]) -> Iterator[_R]:
        """`function` of each value, in order, before anything else that waits begins."""
        results: list[_R | None] = [None] * len(values)

        def job(place: int) -> None:
            results[place] = function(values[place])

        futures = [self.submit(partial(job, place), urgency=_MOST_URGENT) for place in range(len(values))]
        for place, future in enumerate(futures):
            future.result()
            yield cast("_R", results[place])

    def shutdown(self) -> None:
        """Finish what was submitted, and stop."""
        self._pool.shutdown()

    def _run_next(self) -> None:
        with self._lock:
            _, _, done, job = heappop(self._waiting)
        if not done.set_running_or_notify_cancel():
            return
        try:
            job()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)
