"""Texts to predictions: encoder, planner, session and predictions joined."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from types import TracebackType
from typing import overload

import numpy as np
from numpy.typing import NDArray

from onnxpress.encoder import Encoder, Text, TokenRows
from onnxpress.errors import ClosedError, ConfigError, ForkedError, TextError
from onnxpress.manifest import Manifest
from onnxpress.planner import Bucket
from onnxpress.predictions import (
    Prediction,
    accepted_labels,
    activate,
    best_labels,
    default_thresholds,
    pool_windows,
    require_top_k,
    top_labels,
)
from onnxpress.runner import Runner
from onnxpress.settings import Settings
from onnxpress.system import pin_thread

__all__ = ["Classifier"]


class Classifier:
    """A loaded classifier, made by `load`. Safe to share between threads; close it, or use it in a `with`.

    It can be pickled: where it is unpickled, the artifact is loaded again from its path.

    Attributes:
        labels: Label names, in the order of the logits.
        device: Where it runs: "cpu" or "cuda".
        precision: What it runs: "fp32", "fp16" or "int8".
        settings: What it was loaded with.
    """

    def __init__(
        self,
        manifest: Manifest,
        encoder: Encoder,
        runner: Runner,
        *,
        precision: str,
        settings: Settings,
        workers: int,
        open_mixed: Callable[[], Runner],
        reload: tuple[Callable[..., Classifier], tuple[object, ...]],
    ) -> None:
        """Join what `load` opened.

        `open_mixed` opens what runs texts of different lengths at once. `reload` makes the same classifier again: a
        function and its arguments.
        """
        self.labels = manifest.labels
        self.device = runner.session.device
        self.precision = precision
        self.settings = settings
        self._activation = manifest.activation
        self._thresholds = manifest.thresholds
        self._encoder = encoder
        self._runner = runner
        self._workers = workers
        self._open_mixed = open_mixed
        self._mixed: Classifier | None = None
        self._opening = threading.Lock()
        self._reload = reload
        self._process = os.getpid()
        self._pool = _pool(workers, settings.affinity) if workers > 1 else None
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

        At most `max_texts` texts are tokenized ahead of those that run. Equal texts among these are run once.

        Raises:
            TextError: A text cannot be classified; none is answered. Lengths are checked before tokenization.
        """
        self._encoder.check(texts)
        size = self.settings.max_texts
        if len(texts) <= size:
            return self._started(texts).result()
        return np.concatenate(list(self._run(texts[start : start + size] for start in range(0, len(texts), size))))

    def probabilities(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Scores, float32 [len(texts), len(labels)], in input order.

        Softmax for one label, sigmoid for many, the raw value for regression. Raises as `logits` does.
        """
        return self.scores(self.logits(texts))

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
        thresholds = self._thresholds or default_thresholds(len(self.labels))
        return accepted_labels(self.probabilities(texts), self.labels, thresholds)

    def stream(self, texts: Iterable[Text], *, chunk: int | None = None) -> Iterator[Prediction]:
        """Classify an endless iterable in constant memory, in order, `chunk` texts at a time.

        With `optimize_for="throughput"` a chunk, `max_texts` texts by default, is read and tokenized while the one
        before it runs.

        Raises:
            ConfigError: `chunk` is below 1.
            TextError: A text cannot be classified; predictions of the chunks before it were yielded. Its index counts
                from the first text.
        """
        size = self.settings.max_texts if chunk is None else chunk
        if size < 1:
            raise ConfigError(f"chunk must be at least 1, got {chunk}")
        remaining, done = iter(texts), 0
        try:
            for scores in self.stream_probabilities(iter(lambda: list(islice(remaining, size)), [])):
                yield from best_labels(scores, self.labels)
                done += len(scores)
        except TextError as error:
            raise error.moved(done) from None

    def stream_probabilities(self, chunks: Iterable[Sequence[Text]]) -> Iterator[NDArray[np.float32]]:
        """`probabilities` of each chunk, in order, in constant memory.

        With `optimize_for="throughput"` each is read and tokenized while the one before it runs.

        Raises:
            TextError: A text cannot be classified; all chunks before its own were yielded. Its index counts from its
                own chunk's start.
        """

        def checked() -> Iterator[Sequence[Text]]:
            for chunk in chunks:
                self._encoder.check(chunk)
                yield chunk

        return (self.scores(logits) for logits in self._run(checked()))

    def count_tokens(self, texts: Sequence[Text]) -> NDArray[np.int64]:
        """Tokens that each text has before any are cut, special tokens included, int64 [len(texts)].

        With `long_text="truncate"`, a text of more than `max_length` loses the rest. Raises as `logits` does.
        """
        self._check_usable()
        return self._encoder.count_tokens(texts)

    def rejected(self, texts: Sequence[Text]) -> list[TextError]:
        """Why each text that cannot be classified cannot, by its index, in order; empty when all can."""
        return list(self._encoder.rejected(texts))

    def encode(self, texts: Sequence[Text]) -> TokenRows:
        """Tokenize `texts` for `run`. Raises as `logits` does."""
        self._check_usable()
        return self._encoder.encode(texts)

    def run(self, rows: TokenRows) -> NDArray[np.float32]:
        """Logits of tokenized texts, float32 [texts, len(labels)], run in the calling thread."""
        self._check_usable()
        return _Started(*self._begin(rows, None), rows, None, self.settings).result()

    def mixed(self) -> Classifier:
        """This classifier as services use it: texts of different lengths run at once, in one batch.

        Its answers are the same in any company, bit by bit. From this one's they differ by rounding: fp32 in the last
        digits, int8 by what a step of its integers makes. It is opened once, and closed with this one; where the
        artifact has no graph for it, it is this one.
        """
        self._check_usable()
        with self._opening:
            if self._mixed is None:
                mixed = object.__new__(Classifier)  # a copy would be loaded again, as what is unpickled is
                vars(mixed).update(vars(self), _runner=self._open_mixed(), _pool=None)
                self._mixed = mixed
            return self._mixed

    def scores(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """`probabilities` of `logits`, float32 [texts, len(labels)]."""
        return activate(logits, self._activation)

    def shape_of(self, tokens: int) -> int:
        """Rows of `tokens` tokens run together with those of which this is the same number."""
        return self._runner.width(tokens)

    @property
    def max_tokens(self) -> int:
        """Tokens that a batch may have."""
        return self._runner.max_tokens

    @property
    def workers(self) -> int:
        """Batches that run at once."""
        return self._workers

    def close(self) -> None:
        """Stop the workers; later calls raise ClosedError. Calls under way finish first."""
        self._closed = True
        if self._mixed is not None:
            self._mixed._closed = True
        if self._pool is not None:
            self._pool.shutdown()

    def __reduce__(self) -> tuple[Callable[..., Classifier], tuple[object, ...]]:
        return self._reload

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
        require_top_k(top_k)
        scores = self.probabilities(texts)
        return best_labels(scores, self.labels) if top_k is None else top_labels(scores, self.labels, top_k)

    def _check_usable(self) -> None:
        if self._closed:
            raise ClosedError("classifier")
        if (here := os.getpid()) != self._process:
            raise ForkedError(self._process, here)

    def _run(self, chunks: Iterable[Sequence[Text]]) -> Iterator[NDArray[np.float32]]:
        """Logits of each chunk of checked texts, in order; what fails does so after all before it was yielded."""
        started: deque[_Started] = deque()
        remaining = iter(chunks)
        failure: Exception | None = None
        with ExitStack() as stack:
            stack.callback(lambda: deque(map(_Started.cancel, started), maxlen=0))
            while failure is None:
                try:
                    started.append(self._started(next(remaining)))
                except StopIteration:
                    break
                except Exception as error:  # the chunks' own: raised below
                    failure = error
                if len(started) > (self._pool is not None):  # one ahead where others run the one before
                    yield started.popleft().result()
            while started:
                yield started.popleft().result()
        if failure is not None:
            raise failure

    def _started(self, texts: Sequence[Text]) -> _Started:
        """Tokenize checked texts, and begin to run them: on the workers, or here and now where there are none."""
        self._check_usable()
        unique = dict.fromkeys(texts)
        repeats = None
        if len(unique) < len(texts):
            places = {text: place for place, text in enumerate(unique)}
            repeats = np.array([places[text] for text in texts])
            texts = list(unique)
        rows = self._encoder.tokenize(texts)
        return _Started(*self._begin(rows, self._pool), rows, repeats, self.settings)

    def _begin(self, rows: TokenRows, pool: Executor | None) -> tuple[NDArray[np.float32], list[Future[None]]]:
        """Logits of `rows`, one a window, and the runs that still fill them; none without a pool."""
        logits = np.empty((len(rows.lengths), len(self.labels)), dtype=np.float32)
        buckets = self._runner.plan(rows.lengths, 1 if pool is None else self._workers)

        def run(bucket: Bucket) -> None:
            logits[bucket.rows] = self._runner.run(rows, bucket)

        if pool is not None and len(buckets) > 1:
            return logits, [pool.submit(run, bucket) for bucket in buckets]
        for bucket in buckets:
            run(bucket)
        return logits, []


class _Started:
    """Texts that run."""

    def __init__(
        self,
        logits: NDArray[np.float32],
        running: list[Future[None]],
        rows: TokenRows,
        repeats: NDArray[np.intp] | None,
        settings: Settings,
    ) -> None:
        self._logits = logits
        self._running = running
        self._rows = rows
        self._repeats = repeats
        self._settings = settings

    def result(self) -> NDArray[np.float32]:
        """Logits of the texts, once all have run."""
        try:
            for future in self._running:
                future.result()
        except BaseException:
            self.cancel()
            raise
        logits = self._logits
        if self._rows.starts is not None:
            logits = pool_windows(logits, self._rows.starts, self._settings.pooling)
        return logits if self._repeats is None else logits[self._repeats]

    def cancel(self) -> None:
        """Do not run what has not begun."""
        for future in self._running:
            future.cancel()


def _pool(workers: int, affinity: Sequence[int] | None) -> ThreadPoolExecutor:
    """A thread for each batch that runs at once, pinned to the first CPU of its share where `affinity` names them."""
    if affinity is None:
        return ThreadPoolExecutor(workers, "onnxpress")
    cpus = iter(affinity[:: len(affinity) // workers])
    return ThreadPoolExecutor(workers, "onnxpress", initializer=lambda: pin_thread(next(cpus)))
