"""The words of a text, as its tokens let one see them.

A word is made of whole tokens, as it is tokens that are masked. Tokens of one word are those between two spaces, but
that a mark of punctuation or an emoji stands alone, and that in scripts without spaces (Chinese, Japanese, Thai and
their kin) each token is a word. Where the bytes of one character are spread over several tokens, these belong together.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.inputs.texts import Text

if TYPE_CHECKING:
    from tokenizers import Encoding

__all__ = ["Span", "words_of"]

_APOSTROPHES: Final = "'’"
_JOINER: Final = "\u200d"
_SKIN_TONES: Final = range(0x1F3FB, 0x1F400)
_FLAG_LETTERS: Final = range(0x1F1E6, 0x1F200)
_WITHOUT_SPACES: Final = (
    range(0x0E00, 0x0F00),  # Thai, Lao
    range(0x1000, 0x10A0),  # Myanmar
    range(0x1780, 0x1800),  # Khmer
    range(0x2E80, 0xA000),  # Chinese and Japanese
    range(0xF900, 0xFB00),
    range(0xFF66, 0xFFA0),
    range(0x20000, 0x40000),
)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Characters `start` to `end` of a text; `part` is 1 in a pair's second text, else 0."""

    part: int
    start: int
    end: int


def words_of(text: Text, rows: Sequence[Encoding]) -> tuple[list[Span], list[NDArray[np.intp]]]:
    """The words that the model reads of `text`, and to which of them each token belongs.

    Args:
        text: A text, or a pair.
        rows: Its tokens: one row, or one a window.

    Returns:
        The words, in order, without spaces around them; and for each row the index of each token's word, intp
        [tokens]: -1 of what the tokenizer added, and of spaces in a text that has no words.
    """
    parts = (text,) if isinstance(text, str) else text
    spans = [_spans(row) for row in rows]
    words: list[Span] = []
    owners: dict[Span, int] = {}
    waiting: list[Span] = []  # spaces alone: masked with the word that follows
    for span in sorted({span for row in spans for span in row if span is not None}):
        if waiting and waiting[0].part != span.part:
            owners |= dict.fromkeys(waiting, len(words) - 1)
            waiting = []
        seen = _without_spaces(parts[span.part], span)
        if seen.start == seen.end:
            waiting.append(span)
            continue
        if words and words[-1].part == span.part and _is_same_word(parts[span.part], words[-1].end, seen.start):
            words[-1] = Span(span.part, words[-1].start, max(words[-1].end, seen.end))
        else:
            words.append(seen)
        owners |= dict.fromkeys((*waiting, span), len(words) - 1)
        waiting = []
    owners |= dict.fromkeys(waiting, len(words) - 1)
    found = [np.array([-1 if span is None else owners[span] for span in row], dtype=np.intp) for row in spans]
    return [_with_marks(parts[word.part], word) for word in words], found


def _spans(row: Encoding) -> list[Span | None]:
    """Where each token stands; None of what the tokenizer added."""
    return [
        None if part is None else Span(part, start, end)
        for part, (start, end) in zip(row.sequence_ids, row.offsets, strict=True)
    ]


def _without_spaces(text: str, span: Span) -> Span:
    held = text[span.start : span.end]
    start = span.start + len(held) - len(held.lstrip())
    return Span(span.part, start, max(start, span.start + len(held.rstrip())))


def _is_same_word(text: str, end: int, start: int) -> bool:
    """Whether a token that begins at `start` goes on with the word before it, which has come to `end`."""
    if start < end:
        return True
    if any(map(str.isspace, text[end:start])):
        return False
    last, first = text[start - 1], text[start]
    if _extends(first) or last == _JOINER:
        return True
    if ord(last) in _FLAG_LETTERS and ord(first) in _FLAG_LETTERS:
        before = text[:start]
        return bool((len(before) - len(before.rstrip("".join(map(chr, _FLAG_LETTERS))))) % 2)
    if first in _APOSTROPHES:
        return _is_letter(last) and _is_letter(text[start + 1 : start + 2])
    if last in _APOSTROPHES:
        return _is_letter(text[start - 2 : start - 1]) and _is_letter(first)
    return _is_letter(last) and _is_letter(first)


def _with_marks(text: str, word: Span) -> Span:
    """With the marks after its last token that the tokenizer drops."""
    end = word.end
    while end < len(text) and _extends(text[end]):
        end += 1
    return Span(word.part, word.start, end)


def _is_letter(character: str) -> bool:
    """Whether it makes words with what stands beside it; no character at all does not."""
    if not character or any(ord(character) in script for script in _WITHOUT_SPACES):
        return False
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _extends(character: str) -> bool:
    """Whether it belongs to the character before it: an accent, a joiner, a variation, a skin tone."""
    return unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf") or ord(character) in _SKIN_TONES
