"""What callers pass, as texts: one rule for every method and service.

In a sequence a text is a str, and a pair a tuple of two str. Alone, where one text may stand for a call, a mapping of
`text` and `text_pair` is a pair too, as transformers' pipeline takes it. A lone text is no sequence: what takes
several never takes one apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final, cast

from onnxpress.errors import TextTypeError

__all__ = [
    "LoneText",
    "Text",
    "Words",
    "as_chunks",
    "as_list",
    "as_several",
    "as_stream",
    "as_text",
    "describe",
    "is_lone",
    "size_of",
    "whole_text",
]

Text = str | tuple[str, str]
"""A text, or a sentence pair."""


@dataclass(frozen=True, slots=True)
class Words:
    """A text that its caller has split into words, which are tokenized each by itself."""

    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """The words with a space between each two."""
        return " ".join(self.words)


LoneText = Text | Mapping[str, str]
"""A text where it stands alone."""

_FORMS: Final = ({"text"}, {"text", "text_pair"})
_NO_SEQUENCE: Final = (bytes, bytearray, memoryview, Set)


def is_lone(value: object) -> bool:
    """Whether `value` stands for one text, rather than for several."""
    return isinstance(value, (str, tuple, Mapping))


def as_text(value: object) -> Text:
    """The text that `value`, a `LoneText`, stands for; anything else stays, for the encoder to refuse.

    Raises:
        TextTypeError: A mapping of other keys or values.
    """
    if not isinstance(value, Mapping):
        return cast("Text", value)
    if set(value) not in _FORMS or not all(isinstance(part, str) for part in value.values()):
        raise TextTypeError(0, describe(value))
    return cast("Text", (value["text"], value["text_pair"]) if "text_pair" in value else value["text"])


def as_several(value: object) -> list[Text]:
    """The one text that `value` stands for, or the texts of a sequence. Raises as `as_text` and `as_list`."""
    return [as_text(value)] if is_lone(value) else as_list(value)


def as_list(values: object) -> list[Text]:
    """The texts of a sequence: a list, or what has a length and places as lists do. The texts are not looked at.

    Raises:
        TextTypeError: A lone text, a set, bytes, an iterator, a table, or what is no collection at all.
    """
    if not _is_sized(values) or _is_out_of_order(values):
        raise TextTypeError(0, f"no sequence of texts, but {describe(values)}")
    return list(cast("Iterable[Text]", values))


def as_stream(values: object) -> Iterable[Text]:
    """The same of any iterable, an endless one too. Raises as `as_list`, of what cannot be iterated in order."""
    if not (hasattr(type(values), "__iter__") or _is_sized(values)) or _is_out_of_order(values):
        raise TextTypeError(0, f"no iterable of texts, but {describe(values)}")
    return cast("Iterable[Text]", values)


def as_chunks(values: object) -> Iterable[Any]:
    """An iterable of chunks, each to be passed to `as_list`. Raises as `as_stream`."""
    if isinstance(values, tuple) and not any(isinstance(part, str) for part in values):
        return values
    return as_stream(values)


def size_of(text: Text | Words) -> int:
    """Characters of a text, of both texts of a pair, or of all words."""
    if isinstance(text, str):
        return len(text)
    return sum(map(len, text.words if isinstance(text, Words) else text))


def whole_text(text: Text | Words) -> str:
    """The text that offsets count in: of words, that with a space between each two."""
    if isinstance(text, tuple):
        raise TypeError("a pair is no one text")
    return text.text if isinstance(text, Words) else text


def describe(value: object) -> str:
    """What `value` is, in words, for an error."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}: ({', '.join(type(part).__name__ for part in value)})"
    if isinstance(value, Mapping):
        parts = ", ".join(f"{str(key)[:40]!r}: {type(part).__name__}" for key, part in list(value.items())[:4])
        return f"of type {type(value).__name__} ({parts})"
    return f"of type {type(value).__name__}"


def _is_sized(values: object) -> bool:
    return hasattr(type(values), "__len__") and hasattr(type(values), "__getitem__")


def _is_out_of_order(values: object) -> bool:
    """Whether iterating it gives no texts in order: a text's letters, a set's anyhow, a table's columns."""
    return is_lone(values) or isinstance(values, _NO_SEQUENCE) or getattr(values, "ndim", 1) != 1
