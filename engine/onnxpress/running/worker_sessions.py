"""A session for each batch that runs at once, so that each has threads of its own.

ONNX Runtime's threads belong to a session, and a caller is one of them: four callers of one session with four threads
compute on seven, whatever was asked for. Four sessions have sixteen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from onnxpress.sessions.session import Session
from onnxpress.system import thread_cpus

__all__ = ["WorkerSessions", "affinity_of"]


class WorkerSessions:
    """Sessions of one graph, used as one. A run takes the one with the fewest runs under way.

    Each lays out a copy of the weights, but of graphs that `onnxpress tune` saved: what these map is shared.

    Attributes:
        each: The sessions.
        input_names, label_count, output_rank, device, index: As each of them has.
    """

    def __init__(self, sessions: Sequence[Session], affinity: Sequence[int] | None) -> None:
        """Join `sessions`, at least one; `affinity` names the CPUs of each in turn, its caller's first."""
        self.each = tuple(sessions)
        first = self.each[0]
        self.input_names, self.label_count = first.input_names, first.label_count
        self.output_rank, self.device, self.index = first.output_rank, first.device, first.index
        size = 0 if affinity is None else len(affinity) // len(self.each)
        self._callers = {} if affinity is None else {cpu: place for place, cpu in enumerate(affinity[::size])}
        self._running = [0] * len(self.each)
        self._lock = threading.Lock()
        self._thread = threading.local()

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """As `Session.run`."""
        with self._taken() as session:
            return session.run(inputs)

    def close(self) -> None:
        """Free the sessions, which nothing may use any more."""
        for session in self.each:
            session.close()

    @contextmanager
    def _taken(self) -> Iterator[Session]:
        """The session with the fewest runs; of several such, the one that lies beside this thread, or the first."""
        wanted = self._wanted()
        with self._lock:
            fewest = min(self._running)
            place = wanted if self._running[wanted] == fewest else self._running.index(fewest)
            self._running[place] += 1
        try:
            yield self.each[place]
        finally:
            with self._lock:
                self._running[place] -= 1

    def _wanted(self) -> int:
        """The place of the session whose threads lie beside this thread, when this is pinned to a caller's CPU."""
        place: int | None = getattr(self._thread, "place", None)
        if place is None:
            cpus = (thread_cpus() or ()) if self._callers else ()
            place = self._thread.place = self._callers.get(min(cpus), 0) if len(cpus) == 1 else 0
        return place


def affinity_of(worker: int, affinity: Sequence[int] | None, threads: int) -> Sequence[int] | None:
    """The CPUs of a worker's threads but the first, which is the caller's; None where `affinity` is."""
    return None if affinity is None else affinity[worker * threads + 1 : (worker + 1) * threads]
