"""What peers without a planner or a service of their own are given, so that each runs at its best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress_bench.systems.spec import Text

__all__ = ["BatchServing", "BatchedSystem", "batches_by_length"]


def batches_by_length(texts: Sequence[Text], size: int) -> list[list[int]]:
    """Indices of `texts` in batches of `size`, longest first, so that little is padded."""
    order = sorted(range(len(texts)), key=lambda index: -_characters(texts[index]))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _characters(text: Text) -> int:
    return len(text) if isinstance(text, str) else len(text[0]) + len(text[1])


class BatchedSystem:
    """A tokenizer and a model, in padded batches of texts of about equal length.

    Args:
        labels: The model's.
        tokenize: Gives the model's inputs for some texts, padded to the longest.
        forward: Gives float32 logits [texts, labels] for such inputs.
        batch_size: Texts a run.
        forward_all: Gives the logits of many inputs in order, for what runs several at once.
    """

    def __init__(
        self,
        labels: Sequence[str],
        tokenize: Callable[[Sequence[Text]], Any],
        forward: Callable[[Any], NDArray[np.float32]],
        batch_size: int,
        forward_all: Callable[[Iterable[Any]], Iterable[NDArray[np.float32]]] | None = None,
    ) -> None:
        self.labels = labels
        self._tokenize = tokenize
        self._forward_all = forward_all or partial(map, forward)
        self._batch_size = batch_size

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Raw scores [texts, labels], in order."""
        found = np.empty((len(texts), len(self.labels)), np.float32)
        batches = batches_by_length(texts, self._batch_size)
        inputs = (self._tokenize([texts[index] for index in batch]) for batch in batches)
        for batch, logits in zip(batches, self._forward_all(inputs), strict=True):
            found[batch] = logits
        return found

    def encode(self, texts: Sequence[Text]) -> list[Any]:
        """The batches' inputs."""
        return [
            self._tokenize([texts[index] for index in batch]) for batch in batches_by_length(texts, self._batch_size)
        ]

    def run(self, encoded: list[Any]) -> None:
        """Run the batches."""
        for _ in self._forward_all(encoded):
            pass

    def serve(self) -> BatchServing:
        """Take requests, batching what waits."""
        return BatchServing(self.logits, self._batch_size)


class BatchServing:
    """One thread that runs what has arrived meanwhile, at most `size` texts at a time."""

    def __init__(self, classify: Callable[[Sequence[Text]], Any], size: int) -> None:
        self._classify, self._size = classify, size
        self._waiting: SimpleQueue[tuple[Text, Callable[[], None]] | None] = SimpleQueue()
        self._failure: Exception | None = None
        self._thread = Thread(target=self._work, name="serving")
        self._thread.start()

    def submit(self, text: Text, done: Callable[[], None]) -> None:
        """Queue one text."""
        self._waiting.put((text, done))

    def close(self) -> None:
        """Answer what waits, and end the thread. Raises what a batch raised."""
        self._waiting.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while True:
            batch = [self._waiting.get()]
            try:
                while len(batch) < self._size and batch[-1] is not None:
                    batch.append(self._waiting.get_nowait())
            except Empty:
                pass
            requests = [request for request in batch if request is not None]
            if requests and self._failure is None:
                try:
                    self._classify([text for text, _ in requests])
                except Exception as error:  # raised at the end; until then nobody waits for ever
                    self._failure = error
            for _, done in requests:
                done()
            if len(requests) < len(batch):
                return
