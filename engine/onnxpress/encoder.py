"""Texts to token ids."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from onnxpress.ending import native
from onnxpress.errors import (
    ConfigError,
    TextEncodingError,
    TextError,
    TextTooLongError,
    TextTypeError,
    TooManyTokensError,
)
from onnxpress.settings import LongText

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["Encoder", "Text", "TokenRows"]

Text = str | tuple[str, str]
"""A text, or a sentence pair."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Tokenized texts, without padding.

    Attributes:
        encodings: One a row, in the texts' order; a long text may have several rows, one a window.
        lengths: Tokens a row, special tokens included, int64 [rows].
        starts: The first row of each text, where some have several, intp [texts]; None where each has one.
    """

    encodings: Sequence[Encoding]
    lengths: NDArray[np.int64]
    starts: NDArray[np.intp] | None = None

    def inputs(self, rows: NDArray[np.intp], names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """The graph's inputs for `rows`, which must have equal length: int64 [rows, length] by name."""
        return {name: np.array([self.column(row, name) for row in rows], dtype=np.int64) for name in names}

    def column(self, row: np.intp, name: str) -> Sequence[int]:
        """The graph's input `name` for the row `row`, a number for each token."""
        column: Sequence[int] = _COLUMNS[name](self.encodings[int(row)])
        return column


_COLUMNS: Final[dict[str, Any]] = {
    "input_ids": lambda encoding: encoding.ids,
    "attention_mask": lambda encoding: encoding.attention_mask,
    "token_type_ids": lambda encoding: encoding.type_ids,
}


class Encoder:
    """Checks texts and tokenizes them. Safe to share between threads.

    Padding and truncation stored in the tokenizer are replaced: rows are never padded here. What has more than
    `max_length` tokens is cut on `truncation_side` (of a pair, the longer text first), or becomes windows of which
    each repeats the last `stride` tokens of the one before, or is refused.
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
    ) -> None:
        """Raises ConfigError when `stride` leaves a window no token of its own."""
        tokenizer.no_padding()
        room = max_length - tokenizer.num_special_tokens_to_add(is_pair=False)
        windows = long_text == "windows"
        overlap = (room // 4 if stride is None else stride) if windows else 0
        if windows and overlap >= room:
            raise ConfigError(f"stride must be below the {room} tokens that a window has for text, got {overlap}")
        tokenizer.enable_truncation(
            max_length, stride=overlap, strategy="longest_first", direction="right" if windows else truncation_side
        )
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._max_characters = max_characters
        self._long_text = long_text

    def encode(self, texts: Sequence[Text]) -> TokenRows:
        """Tokenize `texts`, a sentence pair being a tuple of two.

        Raises:
            TextTypeError: A text is neither a str nor a tuple of two.
            TextTooLongError: A text has more characters than `max_characters`.
            TextEncodingError: A text holds a lone surrogate.
            TooManyTokensError: A text has more tokens than fit, and they may not be cut.
        """
        self.check(texts)
        return self.tokenize(texts)

    def check(self, texts: Sequence[Text]) -> None:
        """Raise the first of `rejected`."""
        if (bad := next(self.rejected(texts), None)) is not None:
            raise bad

    def rejected(self, texts: Sequence[Text]) -> Iterator[TextError]:
        """Why each text that cannot be tokenized cannot, in order; nothing is tokenized."""
        for index, text in enumerate(texts):
            if (problem := self._problem(index, text)) is not None:
                yield problem

    def tokenize(self, texts: Sequence[Text]) -> TokenRows:
        """As `encode`, of texts that were checked."""
        with native:
            encodings = self._tokenizer.encode_batch_fast(list(texts))
        starts = None
        if self._long_text != "truncate" and any(encoding.overflowing for encoding in encodings):
            self._refuse_long(texts, encodings)
            counts = np.array([1 + len(encoding.overflowing) for encoding in encodings])
            starts = np.cumsum(counts) - counts
            encodings = [row for encoding in encodings for row in (encoding, *encoding.overflowing)]
        return TokenRows(encodings, np.fromiter(map(len, encodings), dtype=np.int64, count=len(encodings)), starts)

    def count_tokens(self, texts: Sequence[Text]) -> NDArray[np.int64]:
        """Tokens that each text has before any are cut, special tokens included, int64 [texts]. Raises as `encode`."""
        self.check(texts)
        with native:
            encodings = self._whole.encode_batch_fast(list(texts))
        return np.array([len(encoding) for encoding in encodings], dtype=np.int64)

    @cached_property
    def _whole(self) -> Tokenizer:
        """The tokenizer without truncation: a copy, as the other may be at work in another thread."""
        from tokenizers import Tokenizer

        whole = Tokenizer.from_str(self._tokenizer.to_str())
        whole.no_truncation()
        return whole

    def _refuse_long(self, texts: Sequence[Text], encodings: Sequence[Encoding]) -> None:
        for index, (text, encoding) in enumerate(zip(texts, encodings, strict=True)):
            if encoding.overflowing and self._long_text == "error":
                way_out = "Shorten it, or load with long_text='truncate' or 'windows'."
                raise TooManyTokensError(index, self._max_length, way_out)
            if encoding.overflowing and isinstance(text, tuple):
                way_out = "A pair has no windows: shorten it, or load with long_text='truncate'."
                raise TooManyTokensError(index, self._max_length, way_out)

    def _problem(self, index: int, text: object) -> TextError | None:
        parts = text if isinstance(text, tuple) else (text,)
        if len(parts) > 2 or not parts or not all(isinstance(part, str) for part in parts):
            return TextTypeError(index, _describe(text))
        characters = sum(map(len, parts))
        if characters > self._max_characters:
            return TextTooLongError(index, characters, self._max_characters)
        for part in parts:
            if not part.isascii() and (match := _SURROGATE.search(part)):
                return TextEncodingError(index, match.start(), ord(match.group()))
        return None


def _describe(text: object) -> str:
    if isinstance(text, tuple):
        return f"a tuple of {len(text)}: ({', '.join(type(part).__name__ for part in text)})"
    return f"of type {type(text).__name__}"
