"""What an explanation says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from onnxpress.answers.predictions import Prediction
from onnxpress.inputs.texts import Text

__all__ = ["Explanation", "Method", "Word"]

Method = Literal["occlusion", "shap"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word of a text, and its share of the answer.

    Attributes:
        text: The word, as it stands in the text: `text[start:end]`.
        start: Its first character, counted as Python does in the caller's own string.
        end: The character after its last one.
        share: What it adds to the label's score; below 0 where it speaks against the label.
        part: Of a pair, the text that it stands in: 0 or 1. 0 where there is one text.
    """

    text: str
    start: int
    end: int
    share: float
    part: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a text has the score that it has for a label. It is a sequence of its words.

    Attributes:
        text: The text, or the pair.
        label: What is explained.
        score: The label's score, as the classifier gives it.
        base: The label's score where every word is masked.
        words: Every word that the model read, in order; none of a text without words.
        method: "shap", whose shares and `base` add up to `score`; or "occlusion", where a share is what the score loses
            once this word alone is masked.
        precision: What answered the text, and all its masked variants.
        mask: The token that stood in for each token of a masked word.
        predictions: Every label and its score, best first.
    """

    text: Text
    label: str
    score: float
    base: float
    words: tuple[Word, ...]
    method: Method
    precision: str
    mask: str
    predictions: tuple[Prediction, ...]

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[Word]:
        return iter(self.words)

    def __getitem__(self, index: int) -> Word:
        return self.words[index]
