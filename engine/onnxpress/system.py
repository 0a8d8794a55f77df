"""Calls that not every system has, each with what stands in for it where it is missing.

| call | Linux | macOS | Windows |
|---|---|---|---|
| `thread_cpus`, `pin_thread` | sched_getaffinity, sched_setaffinity | None; not to be called | as macOS |
| `load_average` | getloadavg | getloadavg | 0 |
| `user_id` | geteuid | geteuid | None: files have no such owner |
| `lock_file` | flock | flock | a lock on the first byte |
| `kernel_file` | /proc, /sys | "" | "" |
| `call_after_fork` | register_at_fork | register_at_fork | nothing forks |
| `replace_file` | rename | rename | tried for a second while another process holds the target open |
| `open_without_waiting` | O_NONBLOCK | O_NONBLOCK | there are no named pipes among files |
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Final

__all__ = [
    "call_after_fork",
    "can_pin",
    "kernel_file",
    "load_average",
    "lock_file",
    "open_without_waiting",
    "pin_thread",
    "replace_file",
    "thread_cpus",
    "user_id",
]

_TRIES: Final = 10
_PAUSE_SECONDS: Final = 0.1


def can_pin() -> bool:
    """Whether threads can be pinned to CPUs here."""
    return hasattr(os, "sched_setaffinity")


def thread_cpus() -> frozenset[int] | None:
    """The CPUs that this thread may run on; None where the system does not tell."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def pin_thread(cpu: int) -> None:
    """Let this thread run on `cpu` alone. Only where `can_pin`."""
    os.sched_setaffinity(0, {cpu})


def load_average() -> float:
    """Processes that wanted to run in the last minute, on average; 0 where the system does not count them."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def user_id() -> int | None:
    """The user that this process acts as; None where files do not belong to one by number."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def lock_file(descriptor: int) -> None:
    """Lock the open file against other processes until it is closed.

    Raises:
        BlockingIOError: Another holds it.
        OSError: Its file system knows no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def kernel_file(path: Path) -> str:
    """The content of a file that Linux makes up, as those of /proc and /sys; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def call_after_fork(callback: Callable[[], None]) -> None:
    """Call `callback` in each process that is forked from this one."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=callback)


def replace_file(source: Path, target: Path) -> None:
    """Put the file `source` in the place of `target`, in one step."""
    for left in reversed(range(_TRIES)):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if sys.platform != "win32" or not left:
                raise
            sleep(_PAUSE_SECONDS)


def open_without_waiting(path: Path) -> int:
    """A descriptor to read the file at `path`; a pipe that nobody writes to is opened at once."""
    return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
