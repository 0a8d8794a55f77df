"""A model for many concurrent callers of one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from types import TracebackType
from typing import Final, Self, overload

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.predictions import Prediction, predicted, require_top_k
from onnxpress.classifier import Classifier
from onnxpress.errors import ClosedError, TextError
from onnxpress.inputs.texts import LoneText, Text, as_several, is_lone
from onnxpress.serving.front import Front, ServedModel
from onnxpress.serving.request import Request, stacked
from onnxpress.serving.service import Encode
from onnxpress.tasks.ranking import Ranked, query_pairs, ranked
from onnxpress.tasks.zero_shot import TEMPLATE, ZeroShot, answers, pairs, premises, text_of

__all__ = ["AsyncClassifier", "AsyncService"]

_INLINE_CHARACTERS: Final = 4_096  # tokenized within a millisecond: no longer than handing it to a thread and back


class AsyncService(Front[ServedModel]):
    """What every asynchronous service has, whatever its task. Use it in an `async with`, or close it."""

    @cached_property
    def _tokenizing(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._service.workers, "onnxpress-tokenizing")

    async def close(self, timeout: float | None = None) -> None:
        """Take nothing more, answer what waits for at most `timeout` seconds, and fail the rest with ClosedError.

        A run that is under way then is waited for.
        """
        closing = ThreadPoolExecutor(1, "onnxpress-closing")
        try:
            await asyncio.get_running_loop().run_in_executor(closing, self._service.close, timeout)
        finally:
            closing.shutdown(wait=False)
            self._tokenizing.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _asked(self, texts: Sequence[Text], timeout: float | None, encode: Encode | None = None) -> list[Request]:
        """Requests for `texts`, each answered; `encode` as in `Service.queue`.

        Raises as `AsyncClassifier.classify` does.
        """
        with self._entered(len(texts), timeout) as requests:
            async with asyncio.timeout(requests[0].remaining() if requests else None):
                await self._answered(requests, texts, encode)
        return requests

    async def _answered(self, requests: Sequence[Request], texts: Sequence[Text], encode: Encode | None) -> None:
        """Tokenize `texts`, here or in another thread, and wait for their logits."""
        if sum(map(_characters, texts)) <= _INLINE_CHARACTERS:
            self._service.queue(requests, texts, encode)
        else:
            try:
                tokenizing = self._tokenizing.submit(self._service.queue, requests, texts, encode)
            except RuntimeError:  # its threads end with the service, and with the program's main thread
                raise ClosedError("service") from None
            await asyncio.wrap_future(tokenizing)
        await asyncio.gather(*(asyncio.wrap_future(request.future) for request in requests))


class AsyncClassifier(AsyncService[Classifier]):
    """Answers concurrent requests, in batches of what waits while a run is in flight.

    async with onnxpress.AsyncClassifier(classifier) as service:
        prediction = await service.classify("great film")

    Use it in an `async with`, or close it. The classifier is not closed with it, and may serve others at once. It takes
    no thread of the event loop's executor, whose other work might keep an answer waiting.
    """

    # As in `Classifier`: a str is a Sequence[str] to a type checker; at run time the first two overloads win.
    @overload
    async def classify(self, texts: LoneText, *, top_k: None = None, timeout: float | None = None) -> Prediction: ...  # type: ignore[overload-overlap]
    @overload
    async def classify(self, texts: LoneText, *, top_k: int, timeout: float | None = None) -> list[Prediction]: ...  # type: ignore[overload-overlap]
    @overload
    async def classify(
        self, texts: Sequence[Text], *, top_k: None = None, timeout: float | None = None
    ) -> list[Prediction]: ...
    @overload
    async def classify(
        self, texts: Sequence[Text], *, top_k: int, timeout: float | None = None
    ) -> list[list[Prediction]]: ...

    async def classify(
        self, texts: LoneText | Sequence[Text], *, top_k: int | None = None, timeout: float | None = None
    ) -> Prediction | list[Prediction] | list[list[Prediction]]:
        """Classify a text, a pair, or several of these. Cancelling the call takes its requests out of the queue.

        Args:
            texts: What to classify, as `Classifier.__call__` takes it.
            top_k: None for the best label alone, or how many labels to return, best first.
            timeout: Seconds, from the call, within which an answer is of use; None for no limit. What waits longer is
                not run.

        Raises:
            TextError: A text cannot be classified; none is.
            OverloadedError: Too much waits, and `when_full` is "raise", or too many callers wait for room.
            DeadlineExceededError: There was no answer in time.
            ClosedError: The service is closed, or was before it came to this request.
        """
        require_top_k(top_k)
        classifier = self._classifier
        found = predicted(classifier.scores(await self.logits(texts, timeout=timeout)), classifier.labels, top_k)
        return found[0] if is_lone(texts) else found

    @overload
    async def accepted(self, texts: LoneText, *, timeout: float | None = None) -> list[Prediction]: ...  # type: ignore[overload-overlap]
    @overload
    async def accepted(self, texts: Sequence[Text], *, timeout: float | None = None) -> list[list[Prediction]]: ...

    async def accepted(
        self, texts: LoneText | Sequence[Text], *, timeout: float | None = None
    ) -> list[Prediction] | list[list[Prediction]]:
        """The labels of a text, a pair, or several, that reach their thresholds, as `Classifier.accepted` has them.

        Raises as `classify` does.

        Raises:
            ConfigError: The model is a regression, which has no labels to accept.
        """
        self._classifier.require_accepting()
        found = self._classifier.accept(await self.logits(texts, timeout=timeout))
        return found[0] if is_lone(texts) else found

    @overload
    async def zero_shot(  # type: ignore[overload-overlap]
        self,
        texts: str | Mapping[str, str],
        labels: str | Iterable[str],
        *,
        template: str = TEMPLATE,
        multi_label: bool = False,
        timeout: float | None = None,
    ) -> ZeroShot: ...
    @overload
    async def zero_shot(
        self,
        texts: Sequence[str],
        labels: str | Iterable[str],
        *,
        template: str = TEMPLATE,
        multi_label: bool = False,
        timeout: float | None = None,
    ) -> list[ZeroShot]: ...

    async def zero_shot(
        self,
        texts: str | Mapping[str, str] | Sequence[str],
        labels: str | Iterable[str],
        *,
        template: str = TEMPLATE,
        multi_label: bool = False,
        timeout: float | None = None,
    ) -> ZeroShot | list[ZeroShot]:
        """The labels that fit a text, or each of several, as `Classifier.zero_shot` has them.

        Each pair of a text and a label is a request. Raises as `classify` does.

        Raises:
            ConfigError: The model is not made for it, or the labels or the template cannot be used; or a first stage
                answers.
        """
        classifier = self._classifier
        self._service.require_comparable()
        hypotheses = classifier.hypotheses(labels, template, multi_label=multi_label)
        several = premises(texts)
        try:
            requests = await self._asked(pairs(several, hypotheses), timeout, classifier.cutting_first().encode)
        except TextError as error:
            raise text_of(error, hypotheses) from error.__cause__
        found = answers(several, stacked(requests, len(classifier.labels)), hypotheses)
        return found[0] if is_lone(texts) else found

    async def rank(
        self, query: str, documents: Sequence[str], *, top_k: int | None = None, timeout: float | None = None
    ) -> list[Ranked]:
        """`documents` by how well they fit `query`, best first, as `Classifier.rank` has them.

        Raises as `classify` does.

        Raises:
            ConfigError: The model has several labels, `top_k` is below 1, or a first stage answers.
        """
        classifier = self._classifier
        classifier.require_ranking(top_k)
        self._service.require_comparable()
        requests = await self._asked(query_pairs(query, documents), timeout)
        return ranked(documents, classifier.scores(stacked(requests, len(classifier.labels))), top_k)

    async def logits(self, texts: LoneText | Sequence[Text], *, timeout: float | None = None) -> NDArray[np.float32]:
        """Raw scores, float32 [texts, labels], of a text (one row), a pair, or several. Raises as `classify` does."""
        requests = await self._asked(as_several(texts), timeout)
        return stacked(requests, len(self._classifier.labels))


def _characters(text: object) -> int:
    """How long `text` is; what is none is refused later."""
    parts = text if isinstance(text, tuple) else text.values() if isinstance(text, Mapping) else (text,)
    return sum(len(part) for part in parts if isinstance(part, str))
