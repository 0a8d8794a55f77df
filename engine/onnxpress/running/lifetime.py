"""From the first call of a classifier to the last: what it holds is freed once no call uses it any more."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

from onnxpress.errors import ClosedError, ForkedError

__all__ = ["Lifetime"]


class Lifetime:
    """Counts the calls under way. Each is made in a `with`; what the same thread enters within one is a part of it.

    After `end` no call begins; those under way end as if nothing had happened, and the last lets go of what they used.
    """

    def __init__(self, free: Callable[[], None]) -> None:
        """`free` is called once, when there are no more calls."""
        self._free: Callable[[], None] | None = free
        self._changed: Final = threading.Condition()
        self._callers: Final[list[int]] = []
        self._ended = False
        self._process: Final = os.getpid()

    def check(self) -> None:
        """Raise ClosedError after the end, and ForkedError in a process that was forked since the start."""
        if self._ended:
            raise ClosedError("classifier")
        if (here := os.getpid()) != self._process:
            raise ForkedError(self._process, here)

    def end(self) -> None:
        """Begin no further call, and wait for those under way; in a call of this very thread, for none."""
        with self._changed:
            self._ended = True
            if os.getpid() != self._process:
                return  # the calls' threads are not here, and what is shared with the other process is not freed
            if threading.get_ident() not in self._callers:
                self._changed.wait_for(lambda: not self._callers)
            free = self._take_free()
        if free is not None:
            free()

    def __enter__(self) -> None:
        with self._changed:
            if (caller := threading.get_ident()) not in self._callers:
                self.check()
            self._callers.append(caller)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._callers.remove(threading.get_ident())
            free = self._take_free() if self._ended else None
            self._changed.notify_all()
        if free is not None:
            free()

    def _take_free(self) -> Callable[[], None] | None:
        if self._callers:
            return None
        free, self._free = self._free, None
        return free
