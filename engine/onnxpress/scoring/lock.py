"""One process at a time: a lock that the operating system takes back when its holder dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onnxpress.errors import JobLockedError
from onnxpress.system import lock_file

__all__ = ["hold_lock"]


@contextmanager
def hold_lock(folder: Path, output: str) -> Iterator[None]:
    """Make `folder` and hold the lock in it. In the end the lock is removed, and the folder when it is empty.

    Raises:
        JobLockedError: Another process holds it; names `output` and that process.
    """
    path, holder = folder / "lock", folder / "lock.pid"
    descriptor = _take(path)
    if descriptor is None:
        process = holder.read_text().strip() if holder.exists() else "unknown"
        raise JobLockedError(
            output, f"another run works on it (process {process}). Wait for it, or end it and run this again."
        )
    try:
        holder.write_text(f"{os.getpid()}\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        if sys.platform != "win32":  # Windows removes no open file; there it stays
            path.unlink(missing_ok=True)
        os.close(descriptor)
        with suppress(OSError):  # it holds a journal, or another run has begun in it
            folder.rmdir()


def _take(path: Path) -> int | None:
    """The locked file at `path`, made where there is none; None when another process holds it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the holder before has just removed the folder
            continue
        try:
            lock_file(descriptor)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # the holder before removed this file between our opening and locking it


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
