"""What the asynchronous and the threaded service share: texts to requests, logits to predictions."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from onnxpress.classifier import Classifier
from onnxpress.encoder import TokenRows
from onnxpress.errors import ConfigError, ForkedError, TextError
from onnxpress.predictions import Prediction, best_labels, require_top_k, top_labels
from onnxpress.serving.batcher import Batcher
from onnxpress.serving.metrics import ServiceMetrics
from onnxpress.serving.request import QueueLimits, Request
from onnxpress.tasks.ranking import Ranked, ranked, require_one_score
from onnxpress.tasks.zero_shot import Hypotheses, read_hypotheses, require_room
from onnxpress.texts import Text

__all__ = ["Encode", "Service", "WhenFull"]

Encode = Callable[[Sequence[Text]], TokenRows]
"""Makes tokens of texts, as `Classifier.encode` does."""

WhenFull = Literal["raise", "wait"]

_LONGEST_CLOSE: Final = 1e9  # seconds


class Service:
    """A queue before a classifier. It does not close the classifier."""

    def __init__(self, classifier: Classifier, limits: QueueLimits, when_full: WhenFull) -> None:
        """Raises ConfigError when `when_full` is neither "raise" nor "wait"."""
        if when_full not in get_args(WhenFull):
            raise ConfigError(f"when_full must be {' or '.join(get_args(WhenFull))}, got {when_full!r}")
        self._classifier = classifier
        self._wait = when_full == "wait"
        self._process = os.getpid()
        self._batcher = Batcher(classifier.mixed(), limits)

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

        `encode` makes tokens of a list of them; None for the classifier's own.

        Raises:
            TextError: A text cannot be classified; none is.
            OverloadedError: Too many tokens wait, and they may not wait for room.
        """
        try:
            for index, (request, text) in enumerate(zip(requests, texts, strict=True)):
                if request.future.done():  # nobody waits for it any more
                    continue
                try:
                    request.rows = (encode or self._classifier.encode)([text])
                except TextError as error:
                    raise error.moved(index) from None
        except BaseException as error:
            self._batcher.withdraw(requests, error)
            raise
        self._batcher.put(requests, wait=self._wait)

    def hypotheses(self, labels: str | Iterable[str], template: str, *, multi_label: bool) -> Hypotheses:
        """What zero-shot classification asks of every text.

        Raises:
            ConfigError: They cannot be asked, or not of this classifier.
        """
        self._require_comparable()
        found = read_hypotheses(self._classifier.labels, labels, template, multi_label=multi_label)
        require_room(found, self._classifier)
        return found

    def encode_premises(self, texts: Sequence[Text]) -> TokenRows:
        """As `Classifier.encode`, of pairs of which only the first text may be cut."""
        return self._classifier.cutting_first().encode(texts)

    def require_ranking(self, top_k: int | None) -> None:
        """Raise ConfigError where there is no one score to rank by, or `top_k` is no number of documents."""
        require_top_k(top_k)
        require_one_score(self._classifier.labels)
        self._require_comparable()

    def ranked(self, documents: Sequence[str], logits: NDArray[np.float32], top_k: int | None) -> list[Ranked]:
        """The `top_k` best of `documents`, of their logits, float32 [documents, 1]."""
        return ranked(documents, self._classifier.scores(logits), top_k)

    def _require_comparable(self) -> None:
        """The first stage is another model: its scores cannot be held against those of the texts that it leaves."""
        if "first" in self._classifier.stages:
            raise ConfigError("scores of a first stage cannot be compared. Load the artifact with first_stage=False.")

    def predictions(self, logits: NDArray[np.float32], top_k: int | None) -> list[Prediction] | list[list[Prediction]]:
        """The best label of each row, or the `top_k` best, of float32 [texts, labels]."""
        scores, labels = self._classifier.scores(logits), self._classifier.labels
        return best_labels(scores, labels) if top_k is None else top_labels(scores, labels, top_k)

    def require_accepting(self) -> None:
        """Raise ConfigError where the model is a regression."""
        self._classifier.require_accepting()

    def accepted(self, logits: NDArray[np.float32]) -> list[list[Prediction]]:
        """The labels of each row that reach their thresholds, of float32 [texts, labels]."""
        return self._classifier.accept(self._classifier.scores(logits))

    def stacked(self, rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Logits of several texts, or of none: float32 [texts, labels]."""
        return np.stack(rows) if rows else np.empty((0, len(self._classifier.labels)), dtype=np.float32)

    def metrics(self) -> ServiceMetrics:
        """The state now."""
        return self._batcher.metrics()

    @property
    def workers(self) -> int:
        """Batches that run at once."""
        return self._classifier.workers

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
