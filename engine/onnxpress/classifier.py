"""Texts to predictions: encoder, planner, session and predictions joined."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from onnxpress.answered import Answered, joined_logits
from onnxpress.cascade import Cascade
from onnxpress.encoder import Encoder, TokenRows, slices_of
from onnxpress.errors import ConfigError, TextError
from onnxpress.fidelity import Decision
from onnxpress.lifetime import Lifetime
from onnxpress.manifest import Manifest
from onnxpress.predictions import (
    Prediction,
    accepted_labels,
    activate,
    best_labels,
    default_thresholds,
    require_top_k,
    top_labels,
)
from onnxpress.runner import Company
from onnxpress.settings import Settings, require_whole
from onnxpress.started import CHARACTERS_AHEAD, Part, Places, Started, chunks_of
from onnxpress.tasks.ranking import Ranked, query_pairs, ranked, require_one_score
from onnxpress.tasks.zero_shot import TEMPLATE, ZeroShot, ask, premises, read_hypotheses
from onnxpress.texts import LoneText, Text, as_chunks, as_list, as_several, as_stream, is_lone
from onnxpress.workers import Workers

if TYPE_CHECKING:
    from onnxpress.explaining.explanation import Explanation, Method

__all__ = ["Classifier"]

_S = TypeVar("_S")
_R = TypeVar("_R")


class Classifier:
    """A loaded classifier, made by `load`. Safe to share between threads; close it, or use it in a `with`.

    Every method takes a sequence of texts, in which a text is a str and a pair a tuple of two str; the call itself
    takes one text alone too. What is neither raises TextTypeError.

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
        cascade: Cascade,
        *,
        precision: str,
        settings: Settings,
        workers: int,
        threads: int,
        open_mixed: Callable[[], Cascade] | None,
        reload: tuple[Callable[..., Classifier], tuple[object, ...]],
    ) -> None:
        """Join what `load` opened.

        `threads` tokenize, or run, at once; `workers` batches do. `open_mixed` opens what runs texts of different
        lengths at once, None where this does. `reload` makes the same classifier again: a function and its arguments.
        """
        self.labels = manifest.labels
        self.device = cascade.main.session.device
        self.precision = precision
        self.settings = settings
        self._activation = manifest.activation
        self._thresholds = manifest.thresholds
        self._encoder = encoder
        self._cascade = cascade
        self._workers = workers
        self._open_mixed = open_mixed
        self._mixed: Classifier | None = None
        self._opening = threading.Lock()
        self._reload = reload
        self._pool = Workers(workers, settings.affinity) if workers > 1 else None
        self._tokenizing = self._pool or (Workers(threads, settings.affinity) if threads > 1 else None)
        self._held = ExitStack()  # and not this object, so that it is freed once nothing refers to it, closed or not
        self._held.callback(cascade.close)
        if self._tokenizing is not None:
            self._held.callback(self._tokenizing.shutdown)
        self._lifetime = Lifetime(self._held.close)

    # A str is a Sequence[str] to a type checker; at run time the first two overloads win.
    @overload
    def __call__(self, texts: LoneText, *, top_k: None = None) -> Prediction: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, texts: LoneText, *, top_k: int) -> list[Prediction]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, texts: Sequence[Text], *, top_k: None = None) -> list[Prediction]: ...
    @overload
    def __call__(self, texts: Sequence[Text], *, top_k: int) -> list[list[Prediction]]: ...

    def __call__(
        self, texts: LoneText | Sequence[Text], *, top_k: int | None = None
    ) -> Prediction | list[Prediction] | list[list[Prediction]]:
        """Classify one text, or a sequence of them in order.

        A str is a text; a tuple of two str, or a mapping of `text` and `text_pair`, a sentence pair. Anything else is a
        sequence of str and tuples.

        Args:
            texts: What to classify.
            top_k: None for the best label alone, or how many labels to return, best first.

        Raises:
            ConfigError: `top_k` is no whole number, or below 1.
            TextError: A text cannot be classified; none is.
        """
        require_top_k(top_k)
        scores = self._scores(as_several(texts))
        found = best_labels(scores, self.labels) if top_k is None else top_labels(scores, self.labels, top_k)
        return found[0] if is_lone(texts) else found

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Raw scores, whatever the activation, float32 [len(texts), len(labels)], in input order.

        At most `max_texts` texts are tokenized ahead of those that run. Equal texts among these are run once.

        Raises:
            TextError: A text cannot be classified; none is answered. Lengths are checked before tokenization.
        """
        return self._logits(as_list(texts))

    def probabilities(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Scores, float32 [len(texts), len(labels)], in input order.

        Softmax for one label, sigmoid for many, the raw value for regression. Raises as `logits` does.
        """
        return self._scores(as_list(texts))

    def accepted(self, texts: Sequence[Text]) -> list[list[Prediction]]:
        """The labels of each text that reach their threshold, best first; none is an answer too.

        Thresholds are those that the artifact was exported with. Without any, many-label models accept from one
        half, and single-label models the best label. Raises as `logits` does.

        Raises:
            ConfigError: The model is a regression, which has no labels to accept.
        """
        self.require_accepting()
        return self.accept(self.probabilities(texts))

    def require_accepting(self) -> None:
        """Raise ConfigError where the model is a regression, which has no labels to accept."""
        if self._activation == "identity":
            raise ConfigError("a regression gives a value, not labels to accept; call the classifier itself")

    def accept(self, scores: NDArray[np.float32]) -> list[list[Prediction]]:
        """`accepted` of what `probabilities` gave, float32 [texts, len(labels)]."""
        if self._thresholds is None and self._activation == "softmax":
            return [[best] for best in best_labels(scores, self.labels)]
        thresholds = self._thresholds or default_thresholds(len(self.labels))
        return accepted_labels(scores, self.labels, thresholds)

    @overload
    def explain(  # type: ignore[overload-overlap]
        self, texts: LoneText, *, label: str | None = None, method: Method = "occlusion", evaluations: int = 500
    ) -> Explanation: ...
    @overload
    def explain(
        self, texts: Sequence[Text], *, label: str | None = None, method: Method = "occlusion", evaluations: int = 500
    ) -> list[Explanation]: ...

    def explain(
        self,
        texts: LoneText | Sequence[Text],
        *,
        label: str | None = None,
        method: Method = "occlusion",
        evaluations: int = 500,
    ) -> Explanation | list[Explanation]:
        """Which words of one text, or of each of several, speak for a label, and which against it.

        Args:
            texts: What to explain, as the call itself takes it.
            label: The label whose score is explained; None for each text's best one.
            method: "occlusion" masks each word alone. "shap" gives shares that add up to the score; it needs the extra
                `explain`.
            evaluations: Masked variants of a text that SHAP may look at, at least 2.

        Raises:
            ConfigError: A setting outside its range, or a label that the model has not.
            MissingDependencyError: `method` is "shap", and the package is not installed.
            TextError: A text cannot be classified; none is explained.
            CheckFailedError: SHAP's shares do not add up to the score.
        """
        from onnxpress.explaining.explain import Answering, Question, explain_texts

        with self._lifetime:
            answering = Answering(
                encoder=self._encoder,
                cascade=self._cascade,
                workers=self._pool,
                at_once=self._workers,
                labels=self.labels,
                activation=self._activation,
            )
            question = Question(label=label, method=method, evaluations=evaluations)
            found = explain_texts(as_several(texts), answering, question)
        return found[0] if is_lone(texts) else found

    @overload
    def zero_shot(
        self,
        texts: str | Mapping[str, str],
        labels: str | Iterable[str],
        *,
        template: str = TEMPLATE,
        multi_label: bool = False,
    ) -> ZeroShot: ...  # type: ignore[overload-overlap]
    @overload
    def zero_shot(
        self, texts: Sequence[str], labels: str | Iterable[str], *, template: str = TEMPLATE, multi_label: bool = False
    ) -> list[ZeroShot]: ...

    def zero_shot(
        self,
        texts: str | Mapping[str, str] | Sequence[str],
        labels: str | Iterable[str],
        *,
        template: str = TEMPLATE,
        multi_label: bool = False,
    ) -> ZeroShot | list[ZeroShot]:
        """Which of `labels` fit one text, or each of several: for models of natural language inference (NLI).

        As transformers' zero-shot pipeline answers. Of a text that is too long its own tokens are cut, never those of
        a label.

        Args:
            texts: What to classify.
            labels: The labels to choose from, or a str of them with commas between.
            template: The sentence that a label becomes, with {} in its place.
            multi_label: Whether each label is judged by itself, rather than against the others.

        Raises:
            ConfigError: The model is not made for it, or the labels or the template cannot be used.
            TextError: A text cannot be classified; none is.
        """
        hypotheses = read_hypotheses(self.labels, labels, template, multi_label=multi_label)
        found = ask(premises(texts), hypotheses, self.cutting_first())
        return found[0] if is_lone(texts) else found

    def rank(self, query: str, documents: Sequence[str], *, top_k: int | None = None) -> list[Ranked]:
        """`documents` by how well they fit `query`, best first: for models with one score for a pair.

        As sentence-transformers' CrossEncoder ranks.

        Args:
            query: The first text of every pair.
            documents: The second ones.
            top_k: How many to return; None for all.

        Raises:
            ConfigError: The model has several labels, or `top_k` is no whole number or below 1.
            TextError: A document cannot be read, by its place; none is ranked.
        """
        require_top_k(top_k)
        require_one_score(self.labels)
        scores = self.comparing().probabilities(query_pairs(query, documents))
        return ranked(documents, scores, top_k)

    def stream(self, texts: Iterable[Text], *, chunk: int | None = None) -> Iterator[Prediction]:
        """Classify an endless iterable in constant memory, in order, `chunk` texts at a time.

        With `optimize_for="throughput"` a chunk, `max_texts` texts by default, is read and tokenized while the one
        before it runs. Where texts are long a chunk is smaller: it has no more than some millions of characters.

        Raises:
            ConfigError: `chunk` is no whole number, or below 1.
            TextError: A text cannot be classified; predictions of the chunks before it were yielded. Its index counts
                from the first text.
        """
        size = self.settings.max_texts if chunk is None else require_whole("chunk", chunk)
        return self._stream(chunks_of(as_stream(texts), size))

    def stream_probabilities(self, chunks: Iterable[Sequence[Text]]) -> Iterator[NDArray[np.float32]]:
        """`probabilities` of each chunk, as `stream_logits` gives their logits."""
        return map(self.scores, self.stream_logits(chunks))

    def stream_logits(self, chunks: Iterable[Sequence[Text]]) -> Iterator[NDArray[np.float32]]:
        """`logits` of each chunk, in order, in constant memory.

        With `optimize_for="throughput"` each is read and tokenized while the one before it runs.

        Raises:
            TextError: A text cannot be classified; all chunks before its own were yielded. Its index counts from its
                own chunk's start.
        """
        return map(joined_logits, self.stream_answered(chunks))

    def stream_answered(self, chunks: Iterable[Sequence[Text]]) -> Iterator[Sequence[Answered]]:
        """As `stream_logits`, with what else is known of the texts: the parts, at least one, that a chunk ran in."""
        return self._stream_answered(as_chunks(chunks))

    def count_tokens(self, texts: Sequence[Text]) -> NDArray[np.int64]:
        """Tokens that each text has before any are cut, special tokens included, int64 [len(texts)].

        With `long_text="truncate"`, a text of more than `max_length` loses the rest.

        Raises:
            TextError: It is no text, has too many characters, or cannot be encoded.
        """
        with self._lifetime:
            return self._encoder.count_tokens(as_list(texts))

    def rejected(self, texts: Sequence[Text]) -> list[TextError]:
        """Why each text that cannot be classified cannot, by its index, in order; empty when all can.

        Nothing is run. Texts are tokenized only where their number of tokens may be the reason: with `long_text`
        other than "truncate", and where the tokenizer adds no tokens of its own.
        """
        with self._lifetime:
            return list(self._encoder.rejected(as_list(texts)))

    def encode(self, texts: Sequence[Text]) -> TokenRows:
        """Tokenize `texts` for `run`. Raises as `logits` does."""
        with self._lifetime:
            checked = as_list(texts)
            self._encoder.check(checked)
            return self._encoder.tokenize(checked, self._spread)

    def run(self, rows: TokenRows) -> NDArray[np.float32]:
        """Logits of tokenized texts, float32 [texts, len(labels)], run in the calling thread.

        Raises:
            RunError: ONNX Runtime failed, or logits are not finite. Its index is that of a text of `rows`.
        """
        return self.answer(rows).logits

    def answer(self, rows: TokenRows) -> Answered:
        """As `run`, with what else is known of the texts."""
        with self._lifetime:
            return self._begin(rows, None, Places()).result()

    def mixed(self) -> Classifier:
        """This classifier as services use it: texts of different lengths run at once, in one batch.

        Its answers are the same in any company, bit by bit. From this one's they differ by rounding: fp32 in the last
        digits, int8 by what a step of its integers makes. It is opened once, and closed with this one; where the
        artifact has no graph for it, it is this one.
        """
        with self._lifetime, self._opening:
            if self._open_mixed is None:
                return self
            if self._mixed is None:
                cascade = self._open_mixed()
                self._held.callback(cascade.close)
                self._mixed = self._like(_cascade=cascade, _pool=None, _open_mixed=None)
            return self._mixed

    def comparing(self) -> Classifier:
        """This classifier for texts whose scores are held against each other: the first stage answers none of them.

        It is another model, and its scores tell which answer is right, not how two texts compare.
        """
        return self._like(_cascade=self._cascade.without_first())

    def cutting_first(self) -> Classifier:
        """As `comparing`; and a pair that is too long loses tokens of its first text alone."""
        return self._like(_cascade=self._cascade.without_first(), _encoder=self._encoder.cutting_first)

    def room_beside(self, text: str) -> int:
        """Tokens that the first text of a pair may have whose second is `text`; below 1 where there is no room."""
        with self._lifetime:
            return self._encoder.room_beside(text)

    def scores(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """`probabilities` of `logits`, float32 [texts, len(labels)]."""
        return activate(logits, self._activation)

    def shape_of(self, tokens: int) -> int:
        """Rows of `tokens` tokens run together with those of which this is the same number."""
        return self._cascade.main.width(tokens)

    def company(self, waiting: Mapping[int, int], shape: int) -> Company:
        """What may run beside a row of `shape`; `waiting` are rows by their shape."""
        return self._cascade.main.company(waiting, shape)

    @property
    def max_tokens(self) -> int:
        """Tokens that a batch may have."""
        return self._cascade.main.max_tokens

    @property
    def workers(self) -> int:
        """Batches that run at once."""
        return self._workers

    @property
    def stages(self) -> tuple[str, ...]:
        """What may answer a text, in turn: ("int8", "fp32") where int8 leaves to fp32 what it is not sure of."""
        return tuple(stage.name for stage in self._cascade.stages)

    @property
    def decision(self) -> Decision:
        """What makes an answer of logits."""
        return Decision(self._activation, self._thresholds)

    @property
    def unknown_token(self) -> int | None:
        """What the tokenizer writes for what is not in its vocabulary; None where it has a token for everything."""
        return self._encoder.unknown_token

    @property
    def answered(self) -> dict[str, int]:
        """Different texts that each stage has answered until now, by its name; those of `mixed` apart."""
        return self._cascade.answered

    def close(self) -> None:
        """Let calls under way finish, then stop the workers and free the sessions; later calls raise ClosedError.

        A stream is under way while its next answers are awaited; after that it is as any later call.
        """
        self._lifetime.end()

    def __reduce__(self) -> tuple[Callable[..., Classifier], tuple[object, ...]]:
        return self._reload

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _like(self, **others: object) -> Classifier:
        """This classifier with `others` in place of some of its attributes; it is closed with this one."""
        like = object.__new__(Classifier)  # a copy would be loaded again, as what is unpickled is
        vars(like).update(vars(self), **others)
        return like

    def _scores(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        return self.scores(self._logits(texts))

    def _logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Logits of a list of what may be texts, in one call."""
        with self._lifetime:
            self._encoder.check(texts)
            parts = list(self._parts(texts))
            if len(parts) == 1:
                return self._started(parts[0]).result().logits
            return joined_logits(list(self._run(parts)))

    def _stream(self, chunks: Iterable[Sequence[Text]]) -> Iterator[Prediction]:
        done = 0
        try:
            for scores in map(self.scores, map(joined_logits, self._stream_answered(chunks))):
                yield from best_labels(scores, self.labels)
                done += len(scores)
        except TextError as error:
            raise error.moved(done) from None

    def _stream_answered(self, chunks: Iterable[object]) -> Iterator[list[Answered]]:
        """The parts of each chunk, in order; those of a long one run one after the other too."""
        counts: deque[int] = deque()

        def parts() -> Iterator[Part]:
            for chunk in chunks:
                texts = as_list(chunk)
                self._encoder.check(texts)
                found = list(self._parts(texts))
                counts.append(len(found))
                yield from found

        done: list[Answered] = []
        for part in self._run(parts()):
            done.append(part)
            if len(done) == counts[0]:
                counts.popleft()
                yield done
                done = []

    def _parts(self, texts: Sequence[Text]) -> Iterator[Part]:
        """What is tokenized together, of checked texts; one part, empty, of none."""
        ranges = slices_of(texts, most=self.settings.max_texts, characters=CHARACTERS_AHEAD)
        for start, end in list(ranges) or [(0, 0)]:
            yield Part(texts[start:end], start)

    def _run(self, parts: Iterable[Part]) -> Iterator[Answered]:
        """What each part became, in order; what fails does so after all before it was yielded.

        Only what is done with a part is a call: the next may be long in coming.
        """
        started: deque[Started] = deque()
        remaining = iter(parts)
        failure: Exception | None = None
        with ExitStack() as stack:
            stack.callback(lambda: deque(map(Started.cancel, started), maxlen=0))
            while failure is None:
                try:
                    started.append(self._started(next(remaining)))
                except StopIteration:
                    break
                except Exception as error:  # the parts' own: raised below
                    failure = error
                if len(started) > (self._pool is not None):  # one ahead where others run the one before
                    yield self._result(started.popleft())
            while started:
                yield self._result(started.popleft())
        if failure is not None:
            raise failure

    def _started(self, part: Part) -> Started:
        """Tokenize checked texts, and begin to run them: on the workers, or here and now where there are none."""
        texts = part.texts
        unique = dict.fromkeys(texts)
        places = Places(part.first)
        if len(unique) < len(texts):
            known = {text: place for place, text in enumerate(unique)}
            places = Places(part.first, np.array([known[text] for text in texts]))
            texts = list(unique)
        with self._lifetime, places.told():
            rows = self._encoder.tokenize(texts, self._spread)
            return self._begin(rows, self._pool, places)

    def _result(self, started: Started) -> Answered:
        with self._lifetime:
            return started.result()

    def _spread(self, function: Callable[[_S], _R], parts: Sequence[_S]) -> Iterable[_R]:
        """As `map`, on the classifier's threads."""
        if self._tokenizing is None or len(parts) == 1:
            return map(function, parts)
        return self._tokenizing.map(function, parts)

    def _begin(self, rows: TokenRows, workers: Workers | None, places: Places) -> Started:
        """Begin to run `rows`: on `workers`, or here and now without them."""
        return Started(self._cascade.begin(rows, workers, self._workers), places)
