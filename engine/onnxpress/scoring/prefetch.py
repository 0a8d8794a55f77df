"""An iterator read ahead by a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from queue import Queue
from typing import TypeVar

__all__ = ["prefetch"]

Item = TypeVar("Item")


def prefetch(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """Yield `items`, up to `depth` of them read ahead; what reading raises is raised behind all that came before.

    The thread ends when the iterator is closed, at the latest with the item that it is reading.
    """
    queue: Queue[tuple[Item, None] | tuple[None, BaseException | None]] = Queue(depth)
    closed = threading.Event()

    def read() -> None:
        failure: BaseException | None = None
        try:
            for item in items:
                queue.put((item, None))
                if closed.is_set():
                    return
        except BaseException as error:  # raised where the items are taken
            failure = error
        queue.put((None, failure or StopIteration()))

    thread = threading.Thread(target=read, name="onnxpress-read", daemon=True)
    thread.start()
    try:
        while True:
            item, end = queue.get()
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            yield item  # type: ignore[misc]  # there is one unless it ends
    finally:
        closed.set()
        while thread.is_alive():
            while not queue.empty():
                queue.get()
            thread.join(0.01)
