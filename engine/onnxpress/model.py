"""Texts in, logit vectors out: what every task shares, of which each makes answers of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.answered import Answered
from onnxpress.answers.fidelity import Decision
from onnxpress.artifacts.manifest import Manifest
from onnxpress.errors import TextError
from onnxpress.inputs.encoder import Encoder, TokenRows, slices_of
from onnxpress.inputs.texts import Text, Words, as_chunks, as_list, as_stream
from onnxpress.running.cascade import Cascade
from onnxpress.running.lifetime import Lifetime
from onnxpress.running.runner import Company
from onnxpress.running.started import CHARACTERS_AHEAD, Part, Places, Started, chunks_of
from onnxpress.running.workers import Workers
from onnxpress.settings import Settings, require_whole
from onnxpress.tasks.task import Task

__all__ = ["Model"]

_S = TypeVar("_S")
_R = TypeVar("_R")
_A = TypeVar("_A")


class Model:
    """A loaded artifact, whatever its task. Safe to share between threads; close it, or use it in a `with`.

    Every method takes a sequence of texts, in which a text is a str and a pair a tuple of two str. What is neither
    raises TextTypeError.

    It can be pickled: where it is unpickled, the artifact is loaded again from its path.

    Attributes:
        labels: Label names, in the order of the logits.
        device: Where it runs: "cpu" or "cuda".
        precision: What it runs: "fp32", "fp16" or "int8".
        settings: What it was loaded with.
        certified: What the export proved of its cascade; None where it has none.
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
        reload: tuple[Callable[..., Model], tuple[object, ...]],
    ) -> None:
        """Join what `load` opened.

        `threads` tokenize, or run, at once; `workers` batches do. `open_mixed` opens what runs texts of different
        lengths at once, None where this does. `reload` makes the same one again: a function and its arguments.
        """
        self.labels = manifest.labels
        self.device = cascade.main.session.device
        self.precision = precision
        self.settings = settings
        self.certified = manifest.cascade
        self._encoder = encoder
        self._cascade = cascade
        self._workers = workers
        self._open_mixed = open_mixed
        self._mixed: Self | None = None
        self._opening = threading.Lock()
        self._reload = reload
        self._pool = Workers(workers, settings.affinity) if workers > 1 else None
        self._tokenizing = self._pool or (Workers(threads, settings.affinity) if threads > 1 else None)
        self._held = ExitStack()  # and not this object, so that it is freed once nothing refers to it, closed or not
        self._held.callback(cascade.close)
        if self._tokenizing is not None:
            self._held.callback(self._tokenizing.shutdown)
        self._lifetime = Lifetime(self._held.close)

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

    def answer(self, rows: TokenRows) -> Answered:
        """What tokenized texts are answered, run in the calling thread.

        Raises:
            RunError: ONNX Runtime failed, or logits are not finite. Its index is that of a text of `rows`.
        """
        with self._lifetime:
            return self._begin(rows, None, Places()).result()

    def mixed(self) -> Self:
        """This model as services use it: texts of different lengths run at once, in one batch.

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
    def task(self) -> Task:
        """What its answers are."""
        return self._cascade.task

    @property
    def decision(self) -> Decision:
        """What makes an answer of logits."""
        return self.task.decision

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

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[object, ...]]:
        return self._reload

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _like(self, **others: object) -> Self:
        """This model with `others` in place of some of its attributes; it is closed with this one."""
        like = object.__new__(type(self))  # a copy would be loaded again, as what is unpickled is
        vars(like).update(vars(self), **others)
        return like

    def _call(self, texts: Sequence[Text | Words]) -> list[Answered]:
        """What becomes of a list of what may be texts, in one call: the parts, at least one, that it runs in."""
        with self._lifetime:
            self._encoder.check(texts)
            parts = list(self._parts(texts))
            if len(parts) == 1:
                return [self._started(parts[0]).result()]
            return list(self._run(parts))

    def _stream_each(
        self, texts: object, chunk: int | None, answers: Callable[[Answered], Sequence[_A]]
    ) -> Iterator[_A]:
        """The answers to each of `texts`, `chunk` of them at a time, in constant memory."""
        size = self.settings.max_texts if chunk is None else require_whole("chunk", chunk)
        return self._each(chunks_of(as_stream(texts), size), answers)

    def _each(self, chunks: Iterable[Sequence[Text]], answers: Callable[[Answered], Sequence[_A]]) -> Iterator[_A]:
        done = 0
        try:
            for parts in self._stream_answered(chunks):
                for part in parts:
                    yield from answers(part)
                done += sum(map(len, parts))
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

    def _parts(self, texts: Sequence[Text | Words]) -> Iterator[Part]:
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
        """As `map`, on this model's threads."""
        if self._tokenizing is None or len(parts) == 1:
            return map(function, parts)
        return self._tokenizing.map(function, parts)

    def _begin(self, rows: TokenRows, workers: Workers | None, places: Places) -> Started:
        """Begin to run `rows`: on `workers`, or here and now without them."""
        return Started(self._cascade.begin(rows, workers, self._workers), places)
