"""What a service did: counters and histograms."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Final, Literal

from onnxpress.answers.answered import Answered
from onnxpress.serving.answers import AnswerMetrics, AnswerRecorder
from onnxpress.serving.histogram import Buckets, Histogram

__all__ = ["Histogram", "Outcome", "Recorder", "ServiceMetrics"]

Outcome = Literal["answered", "failed", "refused", "expired", "cancelled"]

_log: Final = logging.getLogger("onnxpress")
_OUTCOMES: Final[tuple[Outcome, ...]] = ("answered", "failed", "refused", "expired", "cancelled")
_COUNTS: Final = tuple(float(2**power) for power in range(13))
_SECONDS: Final = tuple(step * 10.0**power for power in range(-4, 1) for step in (1, 2, 5))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceMetrics:
    """A service's state at one moment.

    Attributes:
        requests: How many requests ended in each way: "answered", "failed" (a run raised, or the service closed),
            "refused" (the queue was full), "expired" (their time was over before there was an answer) and "cancelled"
            (by the caller, before they ran). Each text of a call is one, and ends once; a text that cannot be
            classified is none.
        waiting: Requests that wait now.
        waiting_tokens: Tokens of those.
        depth: How many requests waited already as each one came.
        batch_size: Requests of each run.
        seconds: From a request's coming to its answer.
        answers: What the requests that are "answered" were answered.
    """

    requests: dict[Outcome, int]
    waiting: int
    waiting_tokens: int
    depth: Histogram
    batch_size: Histogram
    seconds: Histogram
    answers: AnswerMetrics


class Recorder:
    """Counts, from any thread."""

    def __init__(self, answers: AnswerRecorder) -> None:
        """Begin with none; `answers` counts what they were."""
        self._answers = answers
        self._lock = threading.Lock()
        self._requests: dict[Outcome, int] = dict.fromkeys(_OUTCOMES, 0)
        self._depth = Buckets(_COUNTS)
        self._batch_size = Buckets(_COUNTS)
        self._seconds = Buckets(_SECONDS)

    def came(self, depth: int) -> None:
        """A request came, while `depth` others waited."""
        with self._lock:
            self._depth.add(depth)

    def ended(self, outcome: Outcome, requests: int = 1) -> None:
        """So many requests ended so."""
        with self._lock:
            self._requests[outcome] += requests

    def ran(self, seconds: list[float], answered: Answered, late: int = 0) -> None:
        """A batch ran; `seconds` passed for each of those `answered` since it came, and for `late` others too many."""
        with self._lock:
            warnings = self._answers.add(answered)
            self._requests["answered"] += len(seconds)
            self._requests["expired"] += late
            self._batch_size.add(len(seconds) + late)
            for value in seconds:
                self._seconds.add(value)
        for warning in warnings:
            _log.warning("%s", warning)

    def metrics(self, *, waiting: int, waiting_tokens: int) -> ServiceMetrics:
        """All of it, with what waits now."""
        with self._lock:
            return ServiceMetrics(
                requests=dict(self._requests),
                waiting=waiting,
                waiting_tokens=waiting_tokens,
                depth=self._depth.histogram(),
                batch_size=self._batch_size.histogram(),
                seconds=self._seconds.histogram(),
                answers=self._answers.metrics(),
            )
