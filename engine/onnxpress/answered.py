"""What a run tells of its texts beside their logits; each figure is worked out only when somebody asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from onnxpress.encoder import TokenRows

__all__ = ["Answered", "joined_logits"]

_Value = TypeVar("_Value", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Answered:
    """Texts with their answers.

    Attributes:
        logits: float32 [texts, labels].
        stages: Which of `Classifier.stages` answered, by its place there, uint8 [texts].
        rows: The different texts as the model read them.
        repeats: Which of these each text is, intp [texts]; None where all differ.
    """

    logits: NDArray[np.float32]
    stages: NDArray[np.uint8]
    rows: TokenRows
    repeats: NDArray[np.intp] | None = None

    def tokens(self) -> NDArray[np.int64]:
        """Tokens that the model read of each text, those of all its windows together, int64 [texts]."""
        lengths, starts = self.rows.lengths, self.rows.starts
        return self._of_texts(lengths if starts is None else np.add.reduceat(lengths, starts))

    def unknown(self, token: int) -> NDArray[np.int64]:
        """How many of these are the token `token`, int64 [texts]."""
        found = np.fromiter(
            (np.count_nonzero(row.ids == token) for row in self.rows.encodings), np.int64, len(self.rows.encodings)
        )
        return self._of_texts(found if self.rows.starts is None else np.add.reduceat(found, self.rows.starts))

    def cut(self) -> NDArray[np.bool_]:
        """Texts of which the model read a part alone, bool [texts]."""
        return np.zeros(len(self.logits), dtype=np.bool_) if self.rows.cut is None else self._of_texts(self.rows.cut)

    def in_windows(self) -> NDArray[np.bool_]:
        """Texts that were read in several windows, bool [texts]."""
        if self.rows.starts is None:
            return np.zeros(len(self.logits), dtype=np.bool_)
        return self._of_texts(np.diff(self.rows.starts, append=len(self.rows.lengths)) > 1)

    def only(self, kept: Sequence[int]) -> Answered:
        """The texts at the places `kept`."""
        places = np.asarray(kept, dtype=np.intp)
        repeats = places if self.repeats is None else self.repeats[places]
        return replace(self, logits=self.logits[places], stages=self.stages[places], repeats=repeats)

    def placed(self, repeats: NDArray[np.intp] | None) -> Answered:
        """Every text of a call, of which these are the different ones; `repeats` as in the attributes."""
        if repeats is None:
            return self
        return replace(self, logits=self.logits[repeats], stages=self.stages[repeats], repeats=repeats)

    def _of_texts(self, values: NDArray[_Value]) -> NDArray[_Value]:
        return values if self.repeats is None else values[self.repeats]


def joined_logits(parts: Sequence[Answered]) -> NDArray[np.float32]:
    """Logits of the texts of all `parts`, at least one, float32 [texts, labels]."""
    return parts[0].logits if len(parts) == 1 else np.concatenate([part.logits for part in parts])
