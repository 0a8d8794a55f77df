"""A model for many threads that each have a text, or some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.predictions import Prediction, predicted, require_top_k
from onnxpress.classifier import Classifier
from onnxpress.errors import TextError
from onnxpress.inputs.texts import LoneText, Text, as_several, as_text, is_lone
from onnxpress.serving.front import Front, ServedModel
from onnxpress.serving.request import Request, stacked
from onnxpress.serving.service import Encode
from onnxpress.tasks.ranking import Ranked, query_pairs, ranked
from onnxpress.tasks.zero_shot import TEMPLATE, ZeroShot, answers, pairs, premises, text_of

__all__ = ["ThreadedClassifier", "ThreadedService"]


class ThreadedService(Front[ServedModel]):
    """What every service for threads has, whatever its task. Use it in a `with`, or close it."""

    def submit(self, text: LoneText, *, timeout: float | None = None) -> Future[NDArray[np.float32]]:
        """Queue one text, or a pair; its logits come by the future, which may be cancelled.

        They are float32 [labels], or [tokens, labels] where tokens are classified.

        Raises:
            TextError: The text cannot be classified.
            OverloadedError: Too much waits, and `when_full` is "raise", or too many callers wait for room.
            ClosedError: The service is closed.
        """
        texts = [as_text(text)]
        (request,) = requests = self._service.enter(1, timeout)
        self._service.queue(requests, texts)
        return request.future

    def close(self, timeout: float | None = None) -> None:
        """Take nothing more, answer what waits for at most `timeout` seconds, and fail the rest with ClosedError.

        A run that is under way then is waited for.
        """
        self._service.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _asked(self, texts: Sequence[Text], timeout: float | None, encode: Encode | None = None) -> list[Request]:
        """Requests for `texts`, each answered. Raises as `AsyncClassifier.classify` does."""
        with self._entered(len(texts), timeout) as requests:
            self._service.queue(requests, texts, encode)
            for request in requests:
                request.future.result(request.remaining())
        return requests


class ThreadedClassifier(ThreadedService[Classifier]):
    """`AsyncClassifier` for callers that are threads.

    with onnxpress.ThreadedClassifier(classifier) as service:
        prediction = service.classify("great film")
    """

    # As in `Classifier`: a str is a Sequence[str] to a type checker; at run time the first two overloads win.
    @overload
    def classify(self, texts: LoneText, *, top_k: None = None, timeout: float | None = None) -> Prediction: ...  # type: ignore[overload-overlap]
    @overload
    def classify(self, texts: LoneText, *, top_k: int, timeout: float | None = None) -> list[Prediction]: ...  # type: ignore[overload-overlap]
    @overload
    def classify(
        self, texts: Sequence[Text], *, top_k: None = None, timeout: float | None = None
    ) -> list[Prediction]: ...
    @overload
    def classify(
        self, texts: Sequence[Text], *, top_k: int, timeout: float | None = None
    ) -> list[list[Prediction]]: ...

    def classify(
        self, texts: LoneText | Sequence[Text], *, top_k: int | None = None, timeout: float | None = None
    ) -> Prediction | list[Prediction] | list[list[Prediction]]:
        """Classify a text, a pair, or several; arguments and errors are those of `AsyncClassifier.classify`."""
        require_top_k(top_k)
        classifier = self._classifier
        found = predicted(classifier.scores(self.logits(texts, timeout=timeout)), classifier.labels, top_k)
        return found[0] if is_lone(texts) else found

    @overload
    def accepted(self, texts: LoneText, *, timeout: float | None = None) -> list[Prediction]: ...  # type: ignore[overload-overlap]
    @overload
    def accepted(self, texts: Sequence[Text], *, timeout: float | None = None) -> list[list[Prediction]]: ...

    def accepted(
        self, texts: LoneText | Sequence[Text], *, timeout: float | None = None
    ) -> list[Prediction] | list[list[Prediction]]:
        """The labels that reach their thresholds; arguments and errors are those of `AsyncClassifier.accepted`."""
        self._classifier.require_accepting()
        found = self._classifier.accept(self.logits(texts, timeout=timeout))
        return found[0] if is_lone(texts) else found

    @overload
    def zero_shot(  # type: ignore[overload-overlap]
        self,
        texts: str | Mapping[str, str],
        labels: str | Iterable[str],
        *,
        template: str = TEMPLATE,
        multi_label: bool = False,
        timeout: float | None = None,
    ) -> ZeroShot: ...
    @overload
    def zero_shot(
        self,
        texts: Sequence[str],
        labels: str | Iterable[str],
        *,
        template: str = TEMPLATE,
        multi_label: bool = False,
        timeout: float | None = None,
    ) -> list[ZeroShot]: ...

    def zero_shot(
        self,
        texts: str | Mapping[str, str] | Sequence[str],
        labels: str | Iterable[str],
        *,
        template: str = TEMPLATE,
        multi_label: bool = False,
        timeout: float | None = None,
    ) -> ZeroShot | list[ZeroShot]:
        """The labels that fit; arguments and errors are those of `AsyncClassifier.zero_shot`."""
        classifier = self._classifier
        self._service.require_comparable()
        hypotheses = classifier.hypotheses(labels, template, multi_label=multi_label)
        several = premises(texts)
        try:
            requests = self._asked(pairs(several, hypotheses), timeout, classifier.cutting_first().encode)
        except TextError as error:
            raise text_of(error, hypotheses) from error.__cause__
        found = answers(several, stacked(requests, len(classifier.labels)), hypotheses)
        return found[0] if is_lone(texts) else found

    def rank(
        self, query: str, documents: Sequence[str], *, top_k: int | None = None, timeout: float | None = None
    ) -> list[Ranked]:
        """`documents`, best first; arguments and errors are those of `AsyncClassifier.rank`."""
        classifier = self._classifier
        classifier.require_ranking(top_k)
        self._service.require_comparable()
        requests = self._asked(query_pairs(query, documents), timeout)
        return ranked(documents, classifier.scores(stacked(requests, len(classifier.labels))), top_k)

    def logits(self, texts: LoneText | Sequence[Text], *, timeout: float | None = None) -> NDArray[np.float32]:
        """Raw scores, float32 [texts, labels]; arguments and errors are those of `AsyncClassifier.logits`."""
        return stacked(self._asked(as_several(texts), timeout), len(self._classifier.labels))
