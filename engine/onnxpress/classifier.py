"""Texts to predictions: encoder, planner, session and predictions joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

from onnxpress.encoder import Encoder, Text
from onnxpress.errors import ConfigError, TextError
from onnxpress.manifest import Manifest
from onnxpress.planner import plan_batches
from onnxpress.predictions import Prediction, accepted_labels, activate, best_labels, top_labels
from onnxpress.session import Device, Session

__all__ = ["Classifier"]

_CHUNK: Final = 4_096
_HALF: Final = 0.5


class Classifier:
    """A loaded classifier, made by `load`. Safe to share between threads; close it, or use it in a `with`.

    Attributes:
        labels: Label names, in the order of the logits.
        device: Where it runs: "cpu" or "cuda".
        precision: What it runs: "fp32", "fp16" or "int8".
    """

    def __init__(
        self,
        manifest: Manifest,
        encoder: Encoder,
        session: Session,
        *,
        device: Device,
        precision: str,
        workers: int,
        max_tokens: int,
    ) -> None:
        self.labels = manifest.labels
        self.device = device
        self.precision = precision
        self._activation = manifest.activation
        self._thresholds = manifest.thresholds
        self._encoder = encoder
        self._session = session
        self._workers = workers
        self._max_tokens = max_tokens
        self._pool = ThreadPoolExecutor(workers, "onnxpress") if workers > 1 else None
        self._closed = False

    # A str is a Sequence[str] to a type checker; at run time the first two overloads win.
    @overload
    def __call__(self, texts: Text, *, top_k: None = None) -> Prediction: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, texts: Text, *, top_k: int) -> list[Prediction]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, texts: Sequence[Text], *, top_k: None = None) -> list[Prediction]: ...
    @overload
    def __call__(self, texts: Sequence[Text], *, top_k: int) -> list[list[Prediction]]: ...

    def __call__(
        self, texts: Text | Sequence[Text], *, top_k: int | None = None
    ) -> Prediction | list[Prediction] | list[list[Prediction]]:
        """Classify one text, or a sequence of them in order.

        A str is a text, a tuple of two str a sentence pair; anything else is a sequence of these.

        Args:
            texts: What to classify.
            top_k: None for the best label alone, or how many labels to return, best first.

        Raises:
            ConfigError: `top_k` is below 1.
            TextError: A text cannot be classified; none is.
        """
        if isinstance(texts, (str, tuple)):
            return self._predict([texts], top_k)[0]
        return self._predict(texts, top_k)

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Raw scores, float32 [len(texts), len(labels)], in input order.

        Raises:
            TextError: A text cannot be classified; none is. Lengths are checked before tokenization.
        """
        if self._closed:
            raise ConfigError("this classifier is closed. Load the artifact again.")
        rows = self._encoder.encode(texts)
        logits = np.empty((len(texts), len(self.labels)), dtype=np.float32)

        def run(batch: NDArray[np.intp]) -> None:
            logits[batch] = self._session.run(rows.inputs(batch, self._session.input_names))

        batches = plan_batches(rows.lengths, max_tokens=self._max_tokens, workers=self._workers)
        if self._pool is None or len(batches) < 2:
            for batch in batches:
                run(batch)
        else:
            for future in [self._pool.submit(run, batch) for batch in batches]:
                future.result()
        return logits

    def probabilities(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Scores, float32 [len(texts), len(labels)], in input order.

        Softmax for one label, sigmoid for many, the raw value for regression. Raises as `logits` does.
        """
        return activate(self.logits(texts), self._activation)

    def accepted(self, texts: Sequence[Text]) -> list[list[Prediction]]:
        """The labels of each text that reach their threshold, best first; none is an answer too.

        Thresholds are those that the artifact was exported with. Without any, many-label models accept from one
        half, and single-label models the best label. Raises as `logits` does.

        Raises:
            ConfigError: The model is a regression, which has no labels to accept.
        """
        if self._activation == "identity":
            raise ConfigError("a regression gives a value, not labels to accept; call the classifier itself")
        if self._thresholds is None and self._activation == "softmax":
            return [[best] for best in self._predict(texts, None)]
        thresholds = self._thresholds or (_HALF,) * len(self.labels)
        return accepted_labels(self.probabilities(texts), self.labels, thresholds)

    def stream(self, texts: Iterable[Text], *, chunk: int = _CHUNK) -> Iterator[Prediction]:
        """Classify an endless iterable in constant memory, in order, `chunk` texts at a time.

        Raises:
            ConfigError: `chunk` is below 1.
            TextError: A text cannot be classified; predictions of the chunks before it were yielded.
        """
        if chunk < 1:
            raise ConfigError(f"chunk must be at least 1, got {chunk}")
        remaining = iter(texts)
        while window := list(islice(remaining, chunk)):
            yield from self(window)

    def stream_probabilities(self, chunks: Iterable[Sequence[Text]]) -> Iterator[NDArray[np.float32]]:
        """`probabilities` of each chunk, in order, in constant memory.

        Raises:
            TextError: A text cannot be classified; its index counts from its own chunk's start.
        """
        for chunk in chunks:
            yield self.probabilities(chunk)

    def rejected(self, texts: Sequence[Text]) -> list[TextError]:
        """Why each text that cannot be classified cannot, by its index, in order; empty when all can."""
        return list(self._encoder.rejected(texts))

    def close(self) -> None:
        """Stop the workers; later calls raise. Calls under way finish first."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @overload
    def _predict(self, texts: Sequence[Text], top_k: None) -> list[Prediction]: ...
    @overload
    def _predict(self, texts: Sequence[Text], top_k: int) -> list[list[Prediction]]: ...
    @overload
    def _predict(self, texts: Sequence[Text], top_k: int | None) -> list[Prediction] | list[list[Prediction]]: ...

    def _predict(self, texts: Sequence[Text], top_k: int | None) -> list[Prediction] | list[list[Prediction]]:
        if top_k is not None and top_k < 1:
            raise ConfigError(f"top_k must be at least 1, got {top_k}")
        scores = self.probabilities(texts)
        return best_labels(scores, self.labels) if top_k is None else top_labels(scores, self.labels, top_k)
