"""Texts of chosen lengths, made of those at hand."""

from __future__ import annotations

from collections.abc import Sequence

from onnxpress.classifier import Classifier
from onnxpress_bench.systems.spec import Text

__all__ = ["make_sweeps"]


def make_sweeps(
    classifier: Classifier, texts: Sequence[Text], tokens: Sequence[int], batches: Sequence[int], longest: int
) -> dict[tuple[int, int], list[Text]]:
    """Texts by length and batch size: `batch` different ones of at most, and nearly, `tokens` tokens each.

    Lengths over `longest`, what the model sees of a text, are left out. Words are those of `texts`, in their order,
    each text from another place on.
    """
    words = " ".join(text if isinstance(text, str) else " ".join(text) for text in texts).split()
    return {
        (length, batch): [_text(classifier, words, number, length) for number in range(batch)]
        for length in tokens
        if length <= longest
        for batch in batches
    }


def _text(classifier: Classifier, words: Sequence[str], start: int, tokens: int) -> str:
    """Words from `start` on, round and round, as many as make at most `tokens` tokens; at least one."""
    low, high = 1, max(1, tokens)
    endless = [words[(start + offset) % len(words)] for offset in range(high)]
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _count(classifier, endless[:middle]) <= tokens else (low, middle - 1)
    return " ".join(endless[:low])


def _count(classifier: Classifier, words: Sequence[str]) -> int:
    return int(classifier.count_tokens([" ".join(words)])[0])
