"""Texts to token ids."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from onnxpress.errors import TextEncodingError, TextError, TextTooLongError, TextTypeError

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
        encodings: One a text, in input order.
        lengths: Tokens a text, special tokens included, int64 [texts].
    """

    encodings: Sequence[Encoding]
    lengths: NDArray[np.int64]

    def inputs(self, rows: NDArray[np.intp], names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """The graph's inputs for `rows`, which must have equal length: int64 [rows, length] by name."""
        chosen = [self.encodings[row] for row in rows]
        return {name: np.array([_COLUMNS[name](e) for e in chosen], dtype=np.int64) for name in names}


_COLUMNS: Final[dict[str, Any]] = {
    "input_ids": lambda encoding: encoding.ids,
    "attention_mask": lambda encoding: encoding.attention_mask,
    "token_type_ids": lambda encoding: encoding.type_ids,
}


class Encoder:
    """Checks texts and tokenizes them. Safe to share between threads.

    Padding and truncation stored in the tokenizer are replaced: rows are never padded here, and are cut to
    `max_length` tokens on `truncation_side`; of a pair, the longer text is cut first.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        truncation_side: Literal["left", "right"],
        max_characters: int,
    ) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length, strategy="longest_first", direction=truncation_side)
        self._tokenizer = tokenizer
        self._max_characters = max_characters

    def encode(self, texts: Sequence[Text]) -> TokenRows:
        """Tokenize `texts`, a sentence pair being a tuple of two.

        Raises:
            TextTypeError: A text is neither a str nor a tuple of two.
            TextTooLongError: A text has more characters than `max_characters`.
            TextEncodingError: A text holds a lone surrogate.
        """
        if (bad := next(self.rejected(texts), None)) is not None:
            raise bad
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        return TokenRows(encodings, np.fromiter(map(len, encodings), dtype=np.int64, count=len(encodings)))

    def rejected(self, texts: Sequence[Text]) -> Iterator[TextError]:
        """Why each text that cannot be tokenized cannot, in order; nothing is tokenized."""
        for index, text in enumerate(texts):
            if (problem := self._problem(index, text)) is not None:
                yield problem

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
