"""Native calls, services, and the end of the program.

A daemon thread that comes back from native code while Python ends is ended there, by unwinding its stack. In the frames
of ONNX Runtime and of tokenizers that aborts the whole process, whatever its exit status was to be. A service's threads
are such threads, and so may be a program's own.

So native calls run inside `native`. As the program ends, before anything is torn down, services close: what waits in
them fails. Then no other thread's call begins any more, and the end waits for those that run: at most a batch. Threads
that are no daemons have ended by then. A daemon that asks for more is held where it is: Python is about to do the same
to it, and what it would print of an error can itself abort the end, by the lock of standard error.
"""

from __future__ import annotations

import atexit
import threading
from types import TracebackType
from typing import Final, Protocol
from weakref import WeakSet

from onnxpress.errors import ClosedError
from onnxpress.system import call_after_fork

__all__ = ["NativeCalls", "native"]


class _Service(Protocol):
    def close(self, timeout: float | None) -> None: ...


class NativeCalls:
    """The native calls that run, from any thread: `with native: …` around each."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._running = 0
        self._ending = False
        self._left_to: int | None = None  # the one thread that still may, once the program ends
        self._services: WeakSet[_Service] = WeakSet()

    def __enter__(self) -> None:
        """Raises ClosedError where the program ends, but for the thread that ends it; a daemon is held instead."""
        with self._changed:
            if self._left_to is None or self._left_to == threading.get_ident():
                self._running += 1
                return
        self.hold_daemon()
        raise ClosedError("classifier")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._running -= 1
            if self._ending:
                self._changed.notify_all()

    def close_at_end(self, service: _Service) -> None:
        """Close `service`, unless it is gone by then, once the program ends."""
        self._services.add(service)

    def hold_daemon(self) -> None:
        """Return, except in a daemon thread of a program that ends."""
        if self._ending and threading.current_thread().daemon:
            threading.Event().wait()

    def end(self) -> None:
        """Close the services, let no call begin from other threads than this one, and wait for those that run."""
        self._ending = True
        for service in list(self._services):
            service.close(0.0)
        with self._changed:
            self._left_to = threading.get_ident()
            self._changed.wait_for(lambda: not self._running)


native: Final = NativeCalls()
atexit.register(native.end)
call_after_fork(native.__init__)  # type: ignore[misc] # none of its threads is there
