"""Token classifiers for many callers at once: of an event loop, or in threads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.answered import Answered
from onnxpress.inputs.texts import as_several, is_lone
from onnxpress.inputs.vectors import bounds_of
from onnxpress.serving.asynchronous import AsyncService
from onnxpress.serving.request import Request
from onnxpress.serving.threaded import ThreadedService
from onnxpress.tasks.entities import Aggregation, Entity
from onnxpress.token_classifier import OUTSIDE, TokenClassifier, require_aggregation

__all__ = ["AsyncTokenClassifier", "ThreadedTokenClassifier"]


class AsyncTokenClassifier(AsyncService[TokenClassifier]):
    """`AsyncClassifier` for a token classifier.

    async with onnxpress.AsyncTokenClassifier(tagger) as service:
        entities = await service.tag("Ada flew to Oslo")
    """

    # A str is a Sequence[str] to a type checker; at run time the first overload wins.
    @overload
    async def tag(  # type: ignore[overload-overlap]
        self,
        texts: str,
        *,
        aggregation: Aggregation = "simple",
        ignore_labels: Collection[str] = OUTSIDE,
        timeout: float | None = None,
    ) -> list[Entity]: ...
    @overload
    async def tag(
        self,
        texts: Sequence[str],
        *,
        aggregation: Aggregation = "simple",
        ignore_labels: Collection[str] = OUTSIDE,
        timeout: float | None = None,
    ) -> list[list[Entity]]: ...

    async def tag(
        self,
        texts: str | Sequence[str],
        *,
        aggregation: Aggregation = "simple",
        ignore_labels: Collection[str] = OUTSIDE,
        timeout: float | None = None,
    ) -> list[Entity] | list[list[Entity]]:
        """The entities of one text, or of each of several, as the token classifier itself gives them.

        Args:
            texts: A str, or a sequence of them.
            aggregation: What becomes an entity, as `TokenClassifier.__call__` describes it.
            ignore_labels: Labels that make no entity.
            timeout: Seconds, from the call, within which an answer is of use; None for no limit.

        Raises:
            ConfigError: There is no such aggregation.
            TextError: A text cannot be classified; none is.
            OverloadedError: Too much waits, and `when_full` is "raise", or too many callers wait for room.
            DeadlineExceededError: There was no answer in time.
            ClosedError: The service is closed, or was before it came to this request.
        """
        require_aggregation(aggregation)
        requests = await self._asked(as_several(texts), timeout)
        found = _entities(self._classifier, requests, aggregation, ignore_labels)
        return found[0] if is_lone(texts) else found

    async def logits(self, texts: str | Sequence[str], *, timeout: float | None = None) -> list[NDArray[np.float32]]:
        """Raw scores of the tokens of each text, as `TokenClassifier.logits` gives them. Raises as `tag` does."""
        return _logits(self._classifier, await self._asked(as_several(texts), timeout))


class ThreadedTokenClassifier(ThreadedService[TokenClassifier]):
    """`AsyncTokenClassifier` for callers that are threads.

    with onnxpress.ThreadedTokenClassifier(tagger) as service:
        entities = service.tag("Ada flew to Oslo")
    """

    @overload
    def tag(  # type: ignore[overload-overlap]
        self,
        texts: str,
        *,
        aggregation: Aggregation = "simple",
        ignore_labels: Collection[str] = OUTSIDE,
        timeout: float | None = None,
    ) -> list[Entity]: ...
    @overload
    def tag(
        self,
        texts: Sequence[str],
        *,
        aggregation: Aggregation = "simple",
        ignore_labels: Collection[str] = OUTSIDE,
        timeout: float | None = None,
    ) -> list[list[Entity]]: ...

    def tag(
        self,
        texts: str | Sequence[str],
        *,
        aggregation: Aggregation = "simple",
        ignore_labels: Collection[str] = OUTSIDE,
        timeout: float | None = None,
    ) -> list[Entity] | list[list[Entity]]:
        """The entities of a text, or several; arguments and errors are those of `AsyncTokenClassifier.tag`."""
        require_aggregation(aggregation)
        found = _entities(self._classifier, self._asked(as_several(texts), timeout), aggregation, ignore_labels)
        return found[0] if is_lone(texts) else found

    def logits(self, texts: str | Sequence[str], *, timeout: float | None = None) -> list[NDArray[np.float32]]:
        """Raw scores of tokens; arguments and errors are those of `AsyncTokenClassifier.logits`."""
        return _logits(self._classifier, self._asked(as_several(texts), timeout))


def _entities(
    classifier: TokenClassifier, requests: Sequence[Request], aggregation: Aggregation, ignored: Collection[str]
) -> list[list[Entity]]:
    return [
        classifier.entities(_answered(request), aggregation=aggregation, ignore_labels=ignored)[0]
        for request in requests
    ]


def _logits(classifier: TokenClassifier, requests: Sequence[Request]) -> list[NDArray[np.float32]]:
    return [classifier.token_logits(_answered(request))[0] for request in requests]


def _answered(request: Request) -> Answered:
    """The answer to a request's one text, of which nobody asks any more which stage gave it."""
    assert request.rows is not None
    logits = request.logits
    return Answered(
        logits, np.zeros(1, dtype=np.uint8), request.rows, bounds=bounds_of(np.array([len(logits)], dtype=np.int64))
    )
