"""What the asynchronous and the threaded service share, whatever the task: texts to requests."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Final, Literal, get_args

from onnxpress.errors import ConfigError, ForkedError, TextError
from onnxpress.inputs.encoder import TokenRows
from onnxpress.inputs.texts import Text
from onnxpress.model import Model
from onnxpress.serving.batcher import Batcher
from onnxpress.serving.metrics import ServiceMetrics
from onnxpress.serving.request import QueueLimits, Request

__all__ = ["Encode", "Service", "WhenFull"]

Encode = Callable[[Sequence[Text]], TokenRows]
"""Makes tokens of texts, as `Model.encode` does."""

WhenFull = Literal["raise", "wait"]

_LONGEST_CLOSE: Final = 1e9  # seconds


class Service:
    """A queue before a model, which it does not close."""

    def __init__(self, model: Model, limits: QueueLimits, when_full: WhenFull) -> None:
        """Raises ConfigError when `when_full` is neither "raise" nor "wait"."""
        if when_full not in get_args(WhenFull):
            raise ConfigError(f"when_full must be {' or '.join(get_args(WhenFull))}, got {when_full!r}")
        self._model = model
        self._wait = when_full == "wait"
        self._process = os.getpid()
        self._batcher = Batcher(model.mixed(), limits)

    def enter(self, texts: int, timeout: float | None) -> list[Request]:
        """Places for so many texts. Their time runs from now. Each must be `queue`d, or its future cancelled.

        Raises:
            ClosedError: The service is closed.
            OverloadedError: Too many requests wait, and they may not wait for room, or too many do.
            ConfigError: `timeout` is not above 0.
            ForkedError: The service was made in another process.
        """
        if (here := os.getpid()) != self._process:
            raise ForkedError(self._process, here)
        if timeout is not None and not _is_above_0(timeout):
            raise ConfigError(f"timeout must be above 0 s, got {timeout!r}")
        requests = [Request(math.inf if timeout is None else timeout) for _ in range(texts)]
        self._batcher.enter(requests, wait=self._wait)
        return requests

    def queue(self, requests: Sequence[Request], texts: Sequence[Text], encode: Encode | None = None) -> None:
        """Tokenize `texts`, one for each of `requests`, which entered, and queue these.

        `encode` makes tokens of a list of them; None for the model's own.

        Raises:
            TextError: A text cannot be classified; none is.
            OverloadedError: Too many tokens wait, and they may not wait for room.
        """
        try:
            for index, (request, text) in enumerate(zip(requests, texts, strict=True)):
                if request.future.done():  # nobody waits for it any more
                    continue
                try:
                    request.rows = (encode or self._model.encode)([text])
                except TextError as error:
                    raise error.moved(index) from None
        except BaseException as error:
            self._batcher.withdraw(requests, error)
            raise
        self._batcher.put(requests, wait=self._wait)

    def require_comparable(self) -> None:
        """Raise ConfigError where a first stage answers: what it says cannot be held against the model's own scores."""
        if "first" in self._model.stages:
            raise ConfigError("scores of a first stage cannot be compared. Load the artifact with first_stage=False.")

    def metrics(self) -> ServiceMetrics:
        """The state now."""
        return self._batcher.metrics()

    @property
    def workers(self) -> int:
        """Batches that run at once."""
        return self._model.workers

    def close(self, timeout: float | None) -> None:
        """Answer what waits for at most `timeout` seconds, fail the rest, and stop.

        In a process that was forked from the service's it does nothing: nothing of it runs there.

        Raises:
            ConfigError: `timeout` is below 0.
        """
        if timeout is not None and not (timeout == 0 or _is_above_0(timeout)):
            raise ConfigError(f"timeout must be 0 s or more, got {timeout!r}")
        if os.getpid() == self._process:
            self._batcher.close(None if timeout is None or timeout > _LONGEST_CLOSE else timeout)


def _is_above_0(seconds: object) -> bool:
    return isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds > 0
