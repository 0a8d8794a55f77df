"""What a worker and its supervisor tell each other, over a pipe."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from onnxpress.errors import OnnxpressError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["Asked", "Failed", "Gathered", "Link", "Ready", "Told", "Wanted"]

_Own: TypeAlias = "Callable[[], list[Metric]]"

_PATIENCE: Final = 3.0  # seconds; longer than the supervisor's own


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker answers."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker cannot start."""

    error: OnnxpressError


@dataclass(frozen=True, slots=True)
class Wanted:
    """A worker wants the metrics of all."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Asked:
    """The supervisor wants a worker's own."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Told:
    """A worker's own."""

    ticket: int
    metrics: list[Metric]


@dataclass(frozen=True, slots=True)
class Gathered:
    """Those of all workers that told theirs in time."""

    ticket: int
    metrics: list[Metric]
    workers: int


class Link:
    """A worker's end of the pipe.

    Attributes:
        number: Which worker it is, from 0.
    """

    def __init__(self, number: int, connection: Connection) -> None:
        self.number = number
        self._connection = connection
        self._sending = threading.Lock()
        self._tickets = itertools.count()
        self._wanted: dict[int, asyncio.Future[Gathered]] = {}

    def tell(self, message: Ready | Failed | Wanted | Told) -> None:
        """Send `message`; nobody listens any more where the supervisor has ended."""
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:
            pass

    def listen(
        self, loop: asyncio.AbstractEventLoop, own: Callable[[], list[Metric]], on_lost: Callable[[], None]
    ) -> None:
        """Answer the supervisor in a thread from now on.

        Args:
            loop: Where `gathered` is awaited.
            own: This worker's metrics.
            on_lost: Called there once the supervisor has ended.
        """
        threading.Thread(target=self._listen, args=(loop, own, on_lost), name="onnxpress-link", daemon=True).start()

    async def gathered(self) -> Gathered | None:
        """The metrics of all workers; None where the supervisor does not answer."""
        ticket = next(self._tickets)
        self._wanted[ticket] = asyncio.get_running_loop().create_future()
        try:
            self.tell(Wanted(ticket))
            return await asyncio.wait_for(self._wanted[ticket], _PATIENCE)
        except TimeoutError:
            return None
        finally:
            del self._wanted[ticket]

    def _listen(
        self, loop: asyncio.AbstractEventLoop, own: Callable[[], list[Metric]], on_lost: Callable[[], None]
    ) -> None:
        while True:
            try:
                message: Any = self._connection.recv()
            except (EOFError, OSError):
                _call(loop, on_lost)
                return
            if isinstance(message, Asked):
                self.tell(Told(message.ticket, own()))
            else:
                _call(loop, self._arrived, message)

    def _arrived(self, found: Gathered) -> None:
        future = self._wanted.get(found.ticket)
        if future is not None and not future.done():
            future.set_result(found)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:  # the loop is closed: the worker ends
        pass
