"""What the model answers of a text of which some words are masked.

The token ids of the text are made once. A masked variant is these ids with others in the places of some words: it has
the text's own length, so variants run in batches without padding; and what was run before, be it a whole text or a
window of one, is not run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.explaining.words import Span
from onnxpress.inputs.encoder import TokenIds

__all__ = ["Game", "TracedText"]

_AT_ONCE: Final = 256
"""Variants whose ids are in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedText:
    """A tokenized text whose words are known.

    Attributes:
        rows: Its tokens: one row, or one a window.
        words: Where its words stand.
        owners: Of each row the word of each token, intp [tokens]; -1 of what is never masked.
    """

    rows: Sequence[TokenIds]
    words: Sequence[Span]
    owners: Sequence[NDArray[np.intp]]


class Game:
    """Scores of a text's masked variants. No row of tokens is run twice."""

    def __init__(
        self,
        text: TracedText,
        mask: int,
        run: Callable[[Sequence[TokenIds]], NDArray[np.float32]],
        score: Callable[[NDArray[np.float32], NDArray[np.intp]], NDArray[np.float32]],
    ) -> None:
        """Mask with the token `mask`.

        `run` gives logits of rows, float32 [rows, labels]; `score` makes scores of them, float32 [texts, labels], by
        the first row of each text.
        """
        self.words = len(text.words)
        self._text = text
        self._mask = np.int32(mask)
        self._run = run
        self._score = score
        self._known: dict[bytes, NDArray[np.float32]] = {}  # logits by a row's ids: rows of equal ids are equal

    def __call__(self, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Scores of variants, float64 [variants, labels].

        Args:
            kept: Which words each variant keeps, bool [variants, words], at least one variant.

        Raises:
            RunError: A run failed; its index is 0.
        """
        parts = [self._of_few(kept[start : start + _AT_ONCE]) for start in range(0, len(kept), _AT_ONCE)]
        return np.concatenate(parts).astype(np.float64)

    def _of_few(self, kept: NDArray[np.bool_]) -> NDArray[np.float32]:
        windows = len(self._text.rows)
        rows = [row for variants in zip(*map(self._masked(kept), range(windows)), strict=True) for row in variants]
        keys = [row.ids.tobytes() for row in rows]
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in self._known}
        if new:
            self._known |= zip(new, self._run(list(new.values())), strict=True)
        logits = np.stack([self._known[key] for key in keys])
        return self._score(logits, np.arange(0, len(rows), windows))

    def _masked(self, kept: NDArray[np.bool_]) -> Callable[[int], list[TokenIds]]:
        """What makes the variants of one of the text's rows."""
        never = np.ones((len(kept), 1), dtype=bool)
        stays = np.concatenate((kept, never), axis=1)  # the last column is what -1, no word, points to

        def of_row(number: int) -> list[TokenIds]:
            row = self._text.rows[number]
            ids = np.where(stays[:, self._text.owners[number]], row.ids, self._mask)
            return [TokenIds(variant, row.type_ids) for variant in ids]

        return of_row
