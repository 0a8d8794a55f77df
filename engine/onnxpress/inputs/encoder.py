"""Texts to token ids."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from onnxpress.errors import (
    ConfigError,
    NoTokensError,
    PairError,
    TextEncodingError,
    TextError,
    TextTooLongError,
    TextTypeError,
    TooManyTokensError,
)
from onnxpress.inputs.texts import Text, Words, describe, size_of
from onnxpress.inputs.vectors import bounds_of, places_of
from onnxpress.sessions.ending import native
from onnxpress.settings import LongText

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["Cut", "Encoder", "Text", "TokenIds", "TokenPlaces", "TokenRows", "slices_of"]

Cut = Literal["longest_first", "only_first"]
"""Which text of a long pair loses tokens: the longer one, token by token, or the first alone."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SLICE_TEXTS: Final = 32
# A tokenizer needs some 30 bytes a character while it works, whatever it keeps in the end.
_SLICE_CHARACTERS: Final = 2**16
_PARALLELISM: Final = "TOKENIZERS_PARALLELISM"
_OFF: Final = frozenset(("", "false", "0", "off", "no", "n", "f"))


@dataclass(frozen=True, slots=True)
class TokenPlaces:
    """Where the tokens of one row stand in their text.

    Attributes:
        spans: The characters that each begins and ends with, int32 [tokens, 2].
        added: Which are none of the text's but the tokenizer's own, as [CLS], bool [tokens].
    """

    spans: NDArray[np.int32]
    added: NDArray[np.bool_]

    @classmethod
    def of(cls, encoding: Encoding, text: Text | Words) -> TokenPlaces:
        """Those of `encoding`, a row of `text`."""
        spans = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        if isinstance(text, Words):  # whose tokens are told by their place in their word
            lengths = [len(word) + 1 for word in text.words]
            begins = np.array(
                [*accumulate(lengths[:-1], initial=0), 0], dtype=np.int32
            )  # the last is for those of no word
            spans += begins[[-1 if word is None else word for word in encoding.word_ids]][:, None]
        return cls(spans, np.array(encoding.special_tokens_mask, dtype=np.bool_))


@dataclass(frozen=True, slots=True)
class TokenIds:
    """The tokens of one row: nothing else of what a tokenizer tells is kept.

    Attributes:
        ids: int32 [tokens].
        type_ids: int32 [tokens]; None where all are 0.
        places: Where they stand; None where no answer tells it.
    """

    ids: NDArray[np.int32]
    type_ids: NDArray[np.int32] | None = None
    places: TokenPlaces | None = None

    @classmethod
    def of(cls, encoding: Encoding) -> TokenIds:
        """The ids of `encoding`."""
        type_ids = encoding.type_ids
        return cls(
            np.array(encoding.ids, dtype=np.int32),
            np.array(type_ids, dtype=np.int32) if any(type_ids) else None,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> NDArray[np.int32]:
        """The graph's input `name`, int32 [tokens]."""
        if name == "input_ids":
            return self.ids
        if name == "attention_mask":
            return np.ones_like(self.ids)
        return np.zeros_like(self.ids) if self.type_ids is None else self.type_ids


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Tokenized texts, without padding.

    Attributes:
        encodings: One a row, in the texts' order; a long text may have several rows, one a window.
        lengths: Tokens a row, special tokens included, int64 [rows].
        starts: The first row of each text, where some have several, intp [texts]; None where each has one.
        cut: Which texts lost tokens, bool [texts]; None where none did.
        texts: The texts themselves; none where tokens come from elsewhere.
        overlap: Tokens that a window repeats of the one before, special ones not counted.
    """

    encodings: Sequence[TokenIds]
    lengths: NDArray[np.int64]
    starts: NDArray[np.intp] | None = None
    cut: NDArray[np.bool_] | None = None
    texts: Sequence[Text | Words] = ()
    overlap: int = 0

    def inputs(self, rows: NDArray[np.intp], names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """The graph's inputs for `rows`, which must have equal length: int64 [rows, length] by name."""
        return {name: np.array([self.column(row, name) for row in rows], dtype=np.int64) for name in names}

    def column(self, row: np.intp, name: str) -> NDArray[np.int32]:
        """The graph's input `name` for the row `row`, int32 [tokens]."""
        return self.encodings[int(row)].column(name)

    def places(self, row: int | np.intp) -> TokenPlaces:
        """Where the tokens of `row` stand in its text, which the encoder was asked to keep."""
        found = self.encodings[int(row)].places
        assert found is not None
        return found

    def rows_of(self, texts: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp] | None]:
        """The rows of `texts`, and the first of each text among them; None where each text has one row."""
        if self.starts is None:
            return texts, None
        bounds = np.append(self.starts, len(self.lengths))
        return places_of(texts, bounds), bounds_of(np.diff(bounds)[texts])[:-1]

    def text_of(self, row: int) -> int:
        """The index of the text that the row `row` belongs to."""
        return row if self.starts is None else int(np.searchsorted(self.starts, row, side="right")) - 1


class _Unigram(msgspec.Struct):
    unk_id: int | None = None


@dataclass(frozen=True, slots=True)
class _Slice:
    """Texts that are tokenized by one thread, one after the other; `first` is the index of the first of them."""

    texts: Sequence[Text | Words]
    first: int


@dataclass(frozen=True, slots=True)
class _Tokenized:
    """A text's rows, one or one a window, and whether they lack some of its tokens."""

    rows: list[TokenIds]
    is_cut: bool = False


Spread = Callable[[Callable[[_Slice], list[_Tokenized]], Sequence[_Slice]], Iterable[list[_Tokenized]]]
"""As `map` does, perhaps in several threads: results come in order."""


class Encoder:
    """Checks texts and tokenizes them. Safe to share between threads.

    Padding and truncation stored in the tokenizer are replaced: rows are never padded here. What has more than
    `max_length` tokens is cut on `truncation_side` (of a pair, the longer text first, or the first text alone), or
    becomes windows of which each repeats the last `stride` tokens of the one before, or is refused.

    Each text is tokenized in the calling thread, or in those that `tokenize` is given: never in the pool that the
    tokenizers library has, which knows neither how many threads may be used nor on which CPUs.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        truncation_side: Literal["left", "right"],
        max_characters: int,
        long_text: LongText = "truncate",
        stride: int | None = None,
        keeps_places: bool = False,
        cut: Cut = "longest_first",
    ) -> None:
        """`keeps_places` has rows tell where their tokens stand, which takes longer to find.

        `cut` says what a long pair loses tokens of; with "only_first" its second text must leave the first some room.

        Raises ConfigError when `stride` leaves a window no token of its own.
        """
        tokenizer.no_padding()
        special = [tokenizer.num_special_tokens_to_add(is_pair=pair) for pair in (False, True)]
        room = max_length - special[0]
        windows = long_text == "windows"
        overlap = (room // 4 if stride is None else stride) if windows else 0
        if windows and overlap >= room:
            raise ConfigError(f"stride must be below the {room} tokens that a window has for text, got {overlap}")
        tokenizer.enable_truncation(
            max_length, stride=overlap, strategy=cut, direction="right" if windows else truncation_side
        )
        self._tokenizer = tokenizer
        self._overlap = overlap
        self._max_length = max_length
        self._truncation_side = truncation_side
        self._stride = stride
        self._max_characters = max_characters
        self._long_text = long_text
        self._tokens_tell = long_text != "truncate" or not all(special)  # whether a text is bad may take tokens to tell
        self._keeps_places = keeps_places
        self._at_once = _texts_at_once()

    @property
    def max_length(self) -> int:
        """Tokens that a row may have, special tokens included."""
        return self._max_length

    @property
    def tokenizer(self) -> Tokenizer:
        """What makes the tokens. Nothing of it may be changed."""
        return self._tokenizer

    def encode(self, texts: Sequence[Text | Words]) -> TokenRows:
        """Tokenize `texts`, a sentence pair being a tuple of two.

        Raises:
            TextTypeError: A text is neither a str nor a tuple of two.
            TextTooLongError: A text has more characters than `max_characters`.
            TextEncodingError: A text holds a lone surrogate.
            TooManyTokensError: A text has more tokens than fit, and they may not be cut.
            NoTokensError: A text becomes no tokens.
        """
        self.check(texts)
        return self.tokenize(texts)

    def check(self, texts: Sequence[Text | Words]) -> None:
        """Raise the first of those problems that show before a text is tokenized."""
        for index, text in enumerate(texts):
            if (problem := self._problem(index, text)) is not None:
                raise problem

    def rejected(self, texts: Sequence[Text | Words]) -> Iterator[TextError]:
        """Why each text that `encode` would refuse is refused, in order.

        Texts are tokenized only where their number of tokens may be the reason.
        """
        for index, text in enumerate(texts):
            if (problem := self._problem(index, text)) is not None:
                yield problem
            elif self._tokens_tell:
                try:
                    self._tokenize_slice(_Slice([text], index))
                except TextError as error:
                    yield error

    def tokenize(self, texts: Sequence[Text | Words], spread: Spread = map) -> TokenRows:
        """As `encode`, of texts that were checked; `spread` maps over parts of them, in order."""
        found = list(chain.from_iterable(spread(self._tokenize_slice, list(_cut(texts)))))
        starts = None
        rows = list(chain.from_iterable(text.rows for text in found))
        if len(rows) > len(found):
            counts = np.fromiter((len(text.rows) for text in found), dtype=np.intp, count=len(found))
            starts = np.cumsum(counts) - counts
        cut = np.fromiter((text.is_cut for text in found), dtype=np.bool_, count=len(found))
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        return TokenRows(rows, lengths, starts, cut if cut.any() else None, texts, self._overlap)

    def trace(self, text: Text) -> list[Encoding]:
        """The rows of a checked text as the tokenizer gives them, with where each token stands in it.

        Raises as `encode` does, index 0.
        """
        parts = (text,) if isinstance(text, str) else text
        with native:
            encoding = self._tokenizer.encode(*parts)
        return self._rows(0, text, encoding)

    def count_tokens(self, texts: Sequence[Text | Words]) -> NDArray[np.int64]:
        """Tokens that each text has before any are cut, special tokens included, int64 [texts].

        Raises what `check` does.
        """
        self.check(texts)
        counts = [
            len(found) for part in _cut(texts) for found in self._encodings(self._whole.encode_batch_fast, part.texts)
        ]
        return np.array(counts, dtype=np.int64)

    def room_beside(self, text: str) -> int:
        """Tokens that the first text of a pair may have whose second is `text`, a checked one; below 1 for none."""
        with native:
            own = len(self._tokenizer.encode(text, add_special_tokens=False))  # cut where there is no room anyway
        return self._max_length - self._tokenizer.num_special_tokens_to_add(is_pair=True) - own

    @cached_property
    def cutting_first(self) -> Encoder:
        """This encoder, but of a long pair it cuts the first text alone."""
        from tokenizers import Tokenizer

        return Encoder(
            Tokenizer.from_str(self._tokenizer.to_str()),
            max_length=self._max_length,
            truncation_side=self._truncation_side,
            max_characters=self._max_characters,
            long_text=self._long_text,
            stride=self._stride,
            cut="only_first",
        )

    @cached_property
    def unknown_token(self) -> int | None:
        """What the tokenizer writes for what is not in its vocabulary; None where it has a token for everything."""
        model = self._tokenizer.model
        if not hasattr(model, "unk_token"):  # Unigram tells it in its state alone
            return msgspec.json.decode(model.__getstate__(), type=_Unigram).unk_id
        return None if model.unk_token is None else self._tokenizer.token_to_id(model.unk_token)

    @cached_property
    def _whole(self) -> Tokenizer:
        """The tokenizer without truncation: a copy, as the other may be at work in another thread."""
        from tokenizers import Tokenizer

        whole = Tokenizer.from_str(self._tokenizer.to_str())
        whole.no_truncation()
        return whole

    def _encodings(
        self, encode: Callable[[list[Text | Words]], list[Encoding]], texts: Sequence[Text | Words]
    ) -> Iterator[Encoding]:
        for start in range(0, len(texts), self._at_once):
            with native:
                encodings = encode(list(texts[start : start + self._at_once]))
            yield from encodings

    def _tokenize_slice(self, part: _Slice) -> list[_Tokenized]:
        found: list[_Tokenized] = []
        encode = self._encode_placed if self._keeps_places else self._tokenizer.encode_batch_fast
        for text, encoding in zip(part.texts, self._encodings(encode, part.texts), strict=True):
            rows = self._rows(part.first + len(found), text, encoding)
            is_cut = self._long_text == "truncate" and len(encoding) >= self._max_length and bool(encoding.overflowing)
            found.append(_Tokenized([self._kept(row, text) for row in rows], is_cut=is_cut))
        return found

    def _encode_placed(self, texts: list[Text | Words]) -> list[Encoding]:
        """With where each token stands. Either all of `texts` are words, or none."""
        if isinstance(texts[0], Words):
            words = [list(text.words) for text in texts if isinstance(text, Words)]
            return list(self._tokenizer.encode_batch(words, is_pretokenized=True))
        return list(self._tokenizer.encode_batch(texts))

    def _kept(self, row: Encoding, text: Text | Words) -> TokenIds:
        ids = TokenIds.of(row)
        return replace(ids, places=TokenPlaces.of(row, text)) if self._keeps_places else ids

    def _rows(self, index: int, text: Text | Words, encoding: Encoding) -> list[Encoding]:
        """The row of a text, or one a window."""
        if not len(encoding):
            raise NoTokensError(index)
        windows = [] if self._long_text == "truncate" else encoding.overflowing
        if windows:
            self._refuse_long(index, text)
        return [encoding, *windows]

    def _refuse_long(self, index: int, text: Text | Words) -> None:
        if self._long_text == "error":
            way_out = "Shorten it, or load with long_text='truncate' or 'windows'."
            raise TooManyTokensError(index, self._max_length, way_out)
        if isinstance(text, tuple):
            way_out = "A pair has no windows: shorten it, or load with long_text='truncate'."
            raise TooManyTokensError(index, self._max_length, way_out)

    def _problem(self, index: int, text: object) -> TextError | None:
        parts: tuple[Any, ...] = text if isinstance(text, tuple) and len(text) == 2 else (text,)
        if isinstance(text, Words):
            parts = text.words
        if not all(isinstance(part, str) for part in parts):
            return TextTypeError(index, describe(text))
        if self._keeps_places and isinstance(text, tuple):
            return PairError(index)
        characters = sum(map(len, parts))
        if characters > self._max_characters:
            return TextTooLongError(index, characters, self._max_characters)
        for part in parts:
            if not part.isascii() and (match := _SURROGATE.search(part)):
                return TextEncodingError(index, match.start(), ord(match.group()))
        return None


def slices_of(texts: Sequence[Text | Words], *, most: int, characters: int) -> Iterator[tuple[int, int]]:
    """Consecutive ranges (start, end) of checked texts: at most `most` of them, and `characters` or one text."""
    start = held = 0
    for index, text in enumerate(texts):
        size = size_of(text)
        if index > start and (index - start == most or held + size > characters):
            yield start, index
            start, held = index, 0
        held += size
    if start < len(texts):
        yield start, len(texts)


def _cut(texts: Sequence[Text | Words]) -> Iterator[_Slice]:
    for start, end in slices_of(texts, most=_SLICE_TEXTS, characters=_SLICE_CHARACTERS):
        yield _Slice(texts[start:end], start)


def _texts_at_once() -> int:
    """How many texts a call of the tokenizers library may take without its spreading them over threads of its own.

    It has a pool of threads for each CPU, the process's only one, made when it is first needed. It goes by a variable
    of the environment, which is set here for this process unless the user did. A text alone never is spread.
    """
    return _SLICE_TEXTS if os.environ.setdefault(_PARALLELISM, "false").lower() in _OFF else 1
