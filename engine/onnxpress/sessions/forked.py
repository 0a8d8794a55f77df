"""Lets processes end that were forked after ONNX Runtime was loaded.

A fork copies ONNX Runtime's objects and none of its threads. Freeing a session then waits for ever for its threads,
and, with some versions, so does the end of the process, where its library waits for a thread of its own.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Final
from weakref import WeakSet

from onnxpress.system import call_after_fork

__all__ = ["let_forked_processes_end"]

_SESSIONS: Final[WeakSet[object]] = WeakSet()


def let_forked_processes_end(session: object) -> None:
    """Keep the native `session` from being freed in processes forked later, and these from waiting as they end."""
    _watch_forks()
    _SESSIONS.add(session)


@cache
def _watch_forks() -> None:
    call_after_fork(_in_child)


def _in_child() -> None:
    if not _SESSIONS:
        return
    for session in _SESSIONS:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "on_exit"):  # glibc: leave with the process's own status, before the libraries clean up
            libc.on_exit(libc._exit, None)
