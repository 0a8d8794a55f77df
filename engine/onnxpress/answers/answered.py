"""What a run tells of its texts beside their logits; each figure is worked out only when somebody asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from onnxpress.inputs.encoder import TokenRows
from onnxpress.inputs.vectors import Bounds, places_of, split_vectors, taken

__all__ = ["Answered", "joined_logits"]

_Value = TypeVar("_Value", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Answered:
    """Texts with their answers.

    Attributes:
        logits: Vectors of the texts, one text's after the other's, float32 [vectors, labels]; one each, or as `bounds`
            says.
        stages: Which of `Classifier.stages` answered, by its place there, uint8 [texts].
        rows: The different texts as the model read them.
        repeats: Which of these each text is, intp [texts]; None where all differ.
        bounds: Bounds of each text's vectors; None where each has one.
    """

    logits: NDArray[np.float32]
    stages: NDArray[np.uint8]
    rows: TokenRows
    repeats: NDArray[np.intp] | None = None
    bounds: Bounds | None = None

    def __len__(self) -> int:
        return len(self.stages)

    def each(self) -> list[NDArray[np.float32]]:
        """The logits of each text: float32 [labels], or [vectors, labels] where a text may have several."""
        return list(self.logits) if self.bounds is None else split_vectors(self.logits, self.bounds)

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
        return np.zeros(len(self), dtype=np.bool_) if self.rows.cut is None else self._of_texts(self.rows.cut)

    def in_windows(self) -> NDArray[np.bool_]:
        """Texts that were read in several windows, bool [texts]."""
        if self.rows.starts is None:
            return np.zeros(len(self), dtype=np.bool_)
        return self._of_texts(np.diff(self.rows.starts, append=len(self.rows.lengths)) > 1)

    def only(self, kept: Sequence[int]) -> Answered:
        """The texts at the places `kept`."""
        places = np.asarray(kept, dtype=np.intp)
        repeats = places if self.repeats is None else self.repeats[places]
        return self._taken(places, repeats)

    def placed(self, repeats: NDArray[np.intp] | None) -> Answered:
        """Every text of a call, of which these are the different ones; `repeats` as in the attributes."""
        if repeats is None:
            return self
        return self._taken(repeats, repeats)

    def _taken(self, places: NDArray[np.intp], repeats: NDArray[np.intp]) -> Answered:
        return replace(
            self,
            logits=self.logits[places_of(places, self.bounds)],
            stages=self.stages[places],
            repeats=repeats,
            bounds=taken(places, self.bounds),
        )

    def _of_texts(self, values: NDArray[_Value]) -> NDArray[_Value]:
        return values if self.repeats is None else values[self.repeats]


def joined_logits(parts: Sequence[Answered]) -> NDArray[np.float32]:
    """Logits of the texts of all `parts`, at least one, float32 [vectors, labels]."""
    return parts[0].logits if len(parts) == 1 else np.concatenate([part.logits for part in parts])
