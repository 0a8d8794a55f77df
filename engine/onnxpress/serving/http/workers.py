"""Several processes that serve on one socket, and the one that looks after them.

Each worker loads the artifacts itself and accepts connections from the one socket, so the system hands each connection
to whoever is free. A worker that ends is replaced. The supervisor serves nothing, so nothing that a client sends can
stop it, and it is where `/metrics` of all workers meet.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from onnxpress.errors import ConfigError, OnnxpressError
from onnxpress.serving.http.link import Asked, Failed, Gathered, Link, Ready, Told, Wanted
from onnxpress.serving.http.server import LAST_RUN, Serving, serve, url_of
from onnxpress.settings import require_whole

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["WorkerEndedError", "supervise"]

_MOST_WORKERS: Final = 256
_GATHERING: Final = 1.0  # seconds
_PAUSE: Final = 1.0  # seconds before a worker that ended is replaced
_LONG_PAUSE: Final = 30.0  # where it could not start
_TO_END: Final = 5.0  # seconds beyond those that a worker gives its clients

_log: Final = logging.getLogger("onnxpress")


class WorkerEndedError(OnnxpressError):
    """A worker ended before it served.

    Attributes:
        number: Which one, from 0.
        reason: Why, as far as it is known.
    """

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(number, reason)
        self.number, self.reason = number, reason

    def __str__(self) -> str:
        return (
            f"worker {self.number} ended before it could serve ({self.reason}). Is there memory for so many? Try fewer "
            "--workers."
        )


@dataclass(slots=True)
class _Worker:
    number: int
    process: SpawnProcess
    connection: Connection
    ready: bool = False


@dataclass(slots=True, kw_only=True)
class _Gathering:
    """Metrics on their way to the worker that wants them."""

    number: int
    wanted_by: Connection
    ticket: int
    until: float
    missing: set[int]
    metrics: list[Metric] = field(default_factory=list)
    workers: int = 0


def supervise(serving: Serving, workers: int, *, listening: socket.socket, on_ready: Callable[[str], None]) -> None:
    """Serve on `listening` with so many processes, until SIGTERM or SIGINT.

    Then each answers what it has accepted, as `serve` does, and this returns once all have ended. A second SIGINT does
    not wait.

    Raises:
        ConfigError: `workers` is out of range, or this system cannot share a socket.
        WorkerEndedError: A worker ended before all served.
        ArtifactError: An artifact cannot be loaded; and what else `serving.load` raises.
    """
    require_whole("workers", workers)
    if workers > _MOST_WORKERS:
        raise ConfigError(f"workers must be at most {_MOST_WORKERS}, got {workers:,}")
    if os.name == "nt":
        raise ConfigError(
            "several workers share a socket, which this system cannot. Run one server each on its own port."
        )
    with listening, _signals() as wake:
        _Supervisor(serving, workers, listening, wake, on_ready).run()


class _Supervisor:
    def __init__(
        self,
        serving: Serving,
        workers: int,
        listening: socket.socket,
        wake: socket.socket,
        on_ready: Callable[[str], None],
    ) -> None:
        self._serving = serving
        self._count = workers
        self._listening = listening
        self._wake = wake
        self._on_ready = on_ready
        self._url = url_of(listening)
        self._workers: dict[int, _Worker] = {}
        self._again: dict[int, float] = {}  # when a worker is to be started again
        self._gatherings: list[_Gathering] = []
        self._numbers = itertools.count()
        self._up = False
        self._stopping = False

    def run(self) -> None:
        try:
            for number in range(self._count):
                self._start(number)
            while not self._stopping:
                self._turn()
        finally:
            self._end()

    def _start(self, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(number, self._serving, self._listening, theirs), name=f"onnxpress-{number}", daemon=True
        )
        process.start()
        theirs.close()
        self._workers[number] = _Worker(number, process, ours)

    def _turn(self) -> None:
        """Wait for the next thing to happen, and see to it."""
        for number in [number for number, due in self._again.items() if due <= monotonic()]:
            del self._again[number]
            self._start(number)
        due = [*self._again.values(), *(gathering.until for gathering in self._gatherings)]
        by_connection = {worker.connection: worker for worker in self._workers.values()}
        sentinels = {worker.process.sentinel: worker for worker in self._workers.values()}
        timeout = max(0.0, min(due) - monotonic()) if due else None
        for found in wait([self._wake, *by_connection, *sentinels], timeout):
            if found is self._wake:
                self._wake.recv(4_096)
                self._stopping = True
            elif isinstance(found, Connection):
                self._hear(by_connection[found])
            else:
                self._ended(sentinels[found])  # type: ignore[index]
        for gathering in [one for one in self._gatherings if one.until <= monotonic()]:
            self._give(gathering)

    def _hear(self, worker: _Worker) -> None:
        try:
            message: Any = worker.connection.recv()
        except (EOFError, OSError):
            self._ended(worker)
        else:
            self._heed(worker, message)

    def _heed(self, worker: _Worker, message: Any) -> None:
        match message:
            case Ready():
                worker.ready = True
                if not self._up and sum(one.ready for one in self._workers.values()) == self._count:
                    self._up = True
                    self._on_ready(self._url)
            case Failed(error):
                if not self._up:
                    raise error
                _log.error("worker %d cannot start again: %s", worker.number, error)
            case Wanted(ticket):
                self._gather(worker.connection, ticket)
            case Told(number, metrics):
                self._told(worker.number, number, metrics)

    def _ended(self, worker: _Worker) -> None:
        if self._workers.get(worker.number) is not worker:
            return
        del self._workers[worker.number]
        with suppress(OSError, EOFError):
            while worker.connection.poll():  # its last word may be why
                self._heed(worker, worker.connection.recv())
        worker.connection.close()
        worker.process.join(_PAUSE)
        if not self._up:
            raise WorkerEndedError(worker.number, f"exit status {worker.process.exitcode}")
        pause = _PAUSE if worker.ready else _LONG_PAUSE
        _log.error(
            "worker %d ended (exit status %s); another takes its place in %g s",
            worker.number,
            worker.process.exitcode,
            pause,
        )
        self._again[worker.number] = monotonic() + pause

    def _gather(self, wanted_by: Connection, ticket: int) -> None:
        asked = [worker for worker in self._workers.values() if worker.ready]
        gathering = _Gathering(
            number=next(self._numbers),
            wanted_by=wanted_by,
            ticket=ticket,
            until=monotonic() + _GATHERING,
            missing={worker.number for worker in asked},
        )
        self._gatherings.append(gathering)
        for worker in asked:
            with suppress(OSError):
                worker.connection.send(Asked(gathering.number))

    def _told(self, worker: int, number: int, metrics: list[Metric]) -> None:
        for gathering in [one for one in self._gatherings if one.number == number and worker in one.missing]:
            gathering.missing.discard(worker)
            gathering.metrics += metrics
            gathering.workers += 1
            if not gathering.missing:
                self._give(gathering)

    def _give(self, gathering: _Gathering) -> None:
        self._gatherings.remove(gathering)
        with suppress(OSError):
            gathering.wanted_by.send(Gathered(gathering.ticket, gathering.metrics, gathering.workers))

    def _end(self) -> None:
        """Ask all workers to end, and wait: as long as they may take, or until a second SIGINT."""
        self._listening.close()  # so that nobody waits for it to be accepted
        for worker in self._workers.values():
            worker.process.terminate()
        until = monotonic() + (self._serving.close_seconds + LAST_RUN + _TO_END if self._up else _TO_END)
        alive = {worker.process.sentinel: worker for worker in self._workers.values()}
        while alive and (left := until - monotonic()) > 0:
            for found in wait([self._wake, *alive], left):
                if found is self._wake:
                    until = monotonic() if signal.SIGINT in self._wake.recv(4_096) else until
                else:
                    alive.pop(found)  # type: ignore[arg-type]
        for worker in self._workers.values():
            worker.process.kill()
            worker.process.join()


def _work(number: int, serving: Serving, listening: socket.socket, connection: Connection) -> None:
    """A worker's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # while it loads; a terminal's goes to the supervisor too
    link = Link(number, connection)
    try:
        serve(serving, listening=listening, on_ready=lambda _: link.tell(Ready()), link=link)
    except OnnxpressError as error:
        link.tell(Failed(error))
    except Exception as error:  # told in one line by the supervisor, as the command line tells its own
        link.tell(Failed(WorkerEndedError(number, f"{type(error).__name__}: {error}")))


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that receives the number of each SIGTERM and SIGINT, instead of what these do."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    receiving, sending = socket.socketpair()
    sending.setblocking(False)
    with receiving, sending:
        before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        woken = signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
        try:
            yield receiving
        finally:
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                signal.signal(number, handler)
