"""Explanations over HTTP: one at a time, for each is many runs."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import Any

from onnxpress.classifier import Classifier
from onnxpress.errors import DeadlineExceededError
from onnxpress.explaining.explanation import Explanation, Method
from onnxpress.serving.http.arrival import Deadline
from onnxpress.serving.http.messages import FORMS, ExplainRequest, texts_of
from onnxpress.serving.http.models import Model
from onnxpress.serving.http.refusal import BUSY, Refusal

__all__ = ["Explainer"]


class Explainer:
    """Explains texts with a model, by SHAP where the extra `explain` is installed, else by occlusion."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._method: Method = "occlusion" if find_spec("shap") is None else "shap"
        self._running: asyncio.Future[Explanation] | None = None

    async def explain(self, request: ExplainRequest, deadline: Deadline) -> dict[str, Any]:
        """The words of a text or a pair, with their shares of a label's score.

        Raises:
            Refusal: Another text is being explained, there is not one text, or the model labels tokens.
            TextError: The text cannot be classified.
            ConfigError: The model has no such label, or its tokenizer no token to mask words with.
            DeadlineExceededError: There was no answer in time.
        """
        texts, alone = texts_of(request.inputs)
        if not alone:
            raise Refusal(422, "Validation", f"one text or pair is explained at a time. Send the first of {FORMS}.")
        classifier = self._model.classifier
        if not isinstance(classifier, Classifier):
            raise Refusal(424, "Backend", f"{self._model.name} labels tokens, of which no score is explained.")
        if self._running is not None and not self._running.done():  # also of who has left: a thread cannot be stopped
            raise Refusal(429, "Overloaded", "another text is being explained. Try again later.", BUSY)
        work = asyncio.to_thread(classifier.explain, texts[0], label=request.label, method=self._method)
        self._running = asyncio.ensure_future(work)
        self._running.add_done_callback(_seen)
        try:
            async with asyncio.timeout(deadline.remaining()):
                return _content(await asyncio.shield(self._running))
        except TimeoutError:
            raise DeadlineExceededError(deadline.seconds) from None


def _seen(done: asyncio.Future[Explanation]) -> None:
    """Take note of an error that nobody waits for any more."""
    if not done.cancelled():
        done.exception()


def _content(found: Explanation) -> dict[str, Any]:
    return {
        "label": found.label,
        "score": found.score,
        "base": found.base,
        "method": found.method,
        "precision": found.precision,
        "words": [
            {"text": word.text, "start": word.start, "end": word.end, "part": word.part, "share": word.share}
            for word in found.words
        ],
    }
