"""Texts to entities: labels of their tokens, joined."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, cast, get_args, overload

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.answered import Answered
from onnxpress.errors import ConfigError, TaskError, TextTypeError, WordsTypeError
from onnxpress.inputs.texts import Text, Words, as_list, as_several, describe, is_lone
from onnxpress.inputs.vectors import bounds_of, split_vectors
from onnxpress.model import Model
from onnxpress.tasks.entities import Aggregation, Entity, EntityMaker, answering_tokens

__all__ = ["OUTSIDE", "TokenClassifier", "require_aggregation"]

OUTSIDE: Final = ("O",)
"""Labels of what is no entity."""

_OF_TEXTS: Final = frozenset(
    "accept accepted explain probabilities rank scores stream_logits stream_probabilities zero_shot".split()
)


class TokenClassifier(Model):
    """A loaded classifier of tokens, made by `load`. Safe to share between threads; close it, or use it in a `with`.

    Every method takes a sequence of str; those that say so take one str alone too. What is neither raises
    TextTypeError, a pair PairError.

    It can be pickled: where it is unpickled, the artifact is loaded again from its path.

    Attributes:
        labels: Label names, in the order of the logits.
        device: Where it runs: "cpu" or "cuda".
        precision: What it runs: "fp32", "fp16" or "int8".
        settings: What it was loaded with.
    """

    # A str is a Sequence[str] to a type checker; at run time the first overload wins.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, texts: str, *, aggregation: Aggregation = "simple", ignore_labels: Collection[str] = OUTSIDE
    ) -> list[Entity]: ...
    @overload
    def __call__(
        self, texts: Sequence[str], *, aggregation: Aggregation = "simple", ignore_labels: Collection[str] = OUTSIDE
    ) -> list[list[Entity]]: ...

    def __call__(
        self,
        texts: str | Sequence[str],
        *,
        aggregation: Aggregation = "simple",
        ignore_labels: Collection[str] = OUTSIDE,
    ) -> list[Entity] | list[list[Entity]]:
        """The entities of one text, or of each of several, in the order of their first characters.

        They are those of transformers' token classification pipeline, whose `aggregation_strategy` is `aggregation`.

        Args:
            texts: A str, or a sequence of them.
            aggregation: What becomes an entity: "none" each token; "simple" neighbouring tokens of one label; "first",
                "average" and "max" neighbouring words of one label, a word having the label of its first token, of its
                tokens' scores on average, or of its surest token.
            ignore_labels: Labels that make no entity.

        Raises:
            ConfigError: There is no such aggregation.
            TextError: A text cannot be classified; none is.
        """
        made = self._maker(aggregation, ignore_labels)
        found = list(chain.from_iterable(map(made, self._call(as_several(texts)))))
        return found[0] if is_lone(texts) else found

    @overload
    def words(  # type: ignore[overload-overlap]
        self, texts: Sequence[str], *, aggregation: Aggregation = "first", ignore_labels: Collection[str] = OUTSIDE
    ) -> list[Entity]: ...
    @overload
    def words(
        self,
        texts: Sequence[Sequence[str]],
        *,
        aggregation: Aggregation = "first",
        ignore_labels: Collection[str] = OUTSIDE,
    ) -> list[list[Entity]]: ...

    def words(
        self,
        texts: Sequence[str] | Sequence[Sequence[str]],
        *,
        aggregation: Aggregation = "first",
        ignore_labels: Collection[str] = OUTSIDE,
    ) -> list[Entity] | list[list[Entity]]:
        """The entities of one text, or of each of several, that the caller has split into words.

        Each word is tokenized by itself. Offsets are those of the words with a space between each two.

        Args:
            texts: The words of a text, a list of str; or a list of such lists.
            aggregation: As the call itself takes it.
            ignore_labels: Labels that make no entity.

        Raises:
            ConfigError: There is no such aggregation.
            TextError: A text cannot be classified; none is.
        """
        made = self._maker(aggregation, ignore_labels)
        several = _as_lists(texts)
        alone = all(isinstance(word, str) for word in several)
        found = list(chain.from_iterable(map(made, self._call(_as_words([several] if alone else several)))))
        return found[0] if alone else found

    @overload
    def redact(  # type: ignore[overload-overlap]
        self, texts: str, *, replace: Callable[[str], str] = ..., aggregation: Aggregation = "simple"
    ) -> str: ...
    @overload
    def redact(
        self, texts: Sequence[str], *, replace: Callable[[str], str] = ..., aggregation: Aggregation = "simple"
    ) -> list[str]: ...

    def redact(
        self,
        texts: str | Sequence[str],
        *,
        replace: Callable[[str], str] = "[{}]".format,
        aggregation: Aggregation = "simple",
        ignore_labels: Collection[str] = OUTSIDE,
    ) -> str | list[str]:
        """One text, or each of several, with what `replace` makes of its label in the place of each entity.

        Args:
            texts: A str, or a sequence of them.
            replace: What stands for an entity of a label.
            aggregation: As the call itself takes it; not "none", which would replace each token.
            ignore_labels: Labels that are left as they are.

        Raises:
            ConfigError: There is no such aggregation, or it is "none".
            TextError: A text cannot be classified; none is.
        """
        if aggregation == "none":
            raise ConfigError("redact takes whole entities: aggregation must be simple, first, average or max")
        several = cast("list[str]", as_several(texts))  # what is none is refused in the call
        entities = self(several, aggregation=aggregation, ignore_labels=ignore_labels)
        found = [_redacted(text, held, replace) for text, held in zip(several, entities, strict=True)]
        return found[0] if is_lone(texts) else found

    def logits(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Raw scores of the tokens of each text, special tokens included, float32 [tokens, len(labels)].

        Where a long text is read in windows, each of its tokens once: as the window answers it that holds most of what
        stands around it.

        Raises:
            TextError: A text cannot be classified; none is answered. Lengths are checked before tokenization.
        """
        return list(chain.from_iterable(map(self.token_logits, self._call(as_list(texts)))))

    def stream(
        self,
        texts: Iterable[str],
        *,
        chunk: int | None = None,
        aggregation: Aggregation = "simple",
        ignore_labels: Collection[str] = OUTSIDE,
    ) -> Iterator[list[Entity]]:
        """The entities of each text of an endless iterable, in constant memory, in order, `chunk` texts at a time.

        With `optimize_for="throughput"` a chunk, `max_texts` texts by default, is read and tokenized while the one
        before it runs. Where texts are long a chunk is smaller: it has no more than some millions of characters.

        Raises:
            ConfigError: `chunk` is no whole number, or below 1; or there is no such aggregation.
            TextError: A text cannot be classified; entities of the chunks before it were yielded. Its index counts from
                the first text.
        """
        return self._stream_each(texts, chunk, self._maker(aggregation, ignore_labels))

    def entities(
        self,
        answered: Answered,
        *,
        aggregation: Aggregation = "simple",
        ignore_labels: Collection[str] = OUTSIDE,
    ) -> list[list[Entity]]:
        """The entities of each text of what `answer` or `stream_answered` gave."""
        return self._maker(aggregation, ignore_labels)(answered)

    def token_logits(self, answered: Answered) -> list[NDArray[np.float32]]:
        """`logits` of what `answer` or `stream_answered` gave."""
        if answered.rows.starts is None:
            return answered.each()
        texts = np.arange(len(answered)) if answered.repeats is None else answered.repeats
        which, _ = answered.rows.rows_of(texts)
        kept = answering_tokens(answered.rows, which)
        assert answered.bounds is not None
        counts = np.add.reduceat(kept, answered.bounds[:-1], dtype=np.int64)
        return split_vectors(answered.logits[kept], bounds_of(counts))

    if not TYPE_CHECKING:  # to type checkers these names do not exist

        def __getattr__(self, name: str) -> object:
            """Tell what is of another task, rather than that it is not there."""
            if name in _OF_TEXTS:
                raise TaskError(name, "token-classification")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _maker(self, aggregation: Aggregation, ignored: Collection[str]) -> Callable[[Answered], list[list[Entity]]]:
        require_aggregation(aggregation)
        if isinstance(ignored, str):
            raise ConfigError(f"ignore_labels must be a list of labels, got the str {ignored!r}")
        left_out = frozenset(ignored)
        return lambda answered: self._entity_maker.entities(answered, aggregation, left_out)

    @cached_property
    def _entity_maker(self) -> EntityMaker:
        return EntityMaker(self.labels, self._encoder.tokenizer, self.unknown_token)


def require_aggregation(aggregation: object) -> None:
    """Raise ConfigError when there is no such aggregation."""
    if aggregation not in get_args(Aggregation):
        raise ConfigError(f"aggregation must be none, simple, first, average or max, got {aggregation!r}")


def _as_lists(texts: object) -> list[Any]:
    """What `as_list` takes, and tuples, which are no pairs where words are meant. Raises WordsTypeError."""
    if isinstance(texts, tuple):
        return list(texts)
    try:
        return [*as_list(texts)]
    except TextTypeError:
        raise WordsTypeError(0, describe(texts)) from None


def _as_words(texts: Sequence[object]) -> list[Text | Words]:
    """Each text's words. Raises WordsTypeError where one is no list of str."""
    found: list[Text | Words] = []
    for index, words in enumerate(texts):
        try:
            parts = _as_lists(words)
        except WordsTypeError as error:
            raise error.placed(index) from None
        if strange := [word for word in parts if not isinstance(word, str)]:
            raise WordsTypeError(index, f"a list of which one is {describe(strange[0])}")
        found.append(Words(tuple(parts)))
    return found


def _redacted(text: str, entities: Sequence[Entity], replace: Callable[[str], str]) -> str:
    parts, done = [], 0
    for entity in entities:
        held = text[entity.start : entity.end]
        start = max(done, entity.start + len(held) - len(held.lstrip()))  # byte-level tokens may begin with a space
        end = entity.start + len(held.rstrip())
        if start < end:
            parts += [text[done:start], replace(entity.label)]
            done = end
    return "".join((*parts, text[done:]))
