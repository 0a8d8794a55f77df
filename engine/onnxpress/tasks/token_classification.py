"""Labels of the tokens of a text: a vector of logits for each, those of a long one's windows one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.answered import Answered, joined_logits
from onnxpress.answers.fidelity import Decision
from onnxpress.answers.predictions import activate
from onnxpress.inputs.encoder import TokenRows
from onnxpress.inputs.vectors import Bounds, bounds_of
from onnxpress.tasks.task import Seen

__all__ = ["TokenClassification"]


@dataclass(frozen=True, slots=True)
class TokenClassification:
    """`Task` of labels of tokens. What the tokenizer adds to a text, as [CLS], has vectors too, which decide nothing.

    Attributes:
        outputs: Columns of the logits.
        decision: What makes a token's label of its logits.
    """

    outputs: int
    decision: Decision = field(default=Decision("softmax"), init=False)
    needs_places: ClassVar[bool] = True

    def row_bounds(self, lengths: NDArray[np.int64]) -> Bounds | None:
        """A vector a token."""
        return bounds_of(lengths)

    def text_bounds(self, rows: TokenRows) -> Bounds | None:
        """Those of all rows of each text."""
        bounds = bounds_of(rows.lengths)
        return bounds if rows.starts is None else bounds[np.append(rows.starts, len(rows.lengths))]

    def joined(self, logits: NDArray[np.float32], starts: NDArray[np.intp] | None) -> NDArray[np.float32]:
        """All of them: which window answers for a token is decided when entities are made."""
        return logits

    def margins(self, logits: NDArray[np.float32], rows: TokenRows, texts: NDArray[np.intp]) -> NDArray[np.float64]:
        """The smallest margin of the text's own tokens; infinite where it has none. One NaN among all makes it 0."""
        found = self.decision.margins(logits)
        found[self._added(rows, texts) & np.isfinite(logits).all(axis=1)] = np.inf
        return _smallest(found, rows, texts)

    def seen(self, parts: Sequence[Answered]) -> Seen:
        """Each token's label; each text's least sure token. A text without tokens of its own is sure: 1."""
        logits = joined_logits(parts)
        scores, margins = activate(logits, "softmax").astype(np.float64), []
        added, lowest, begin = [], [], 0
        for part in parts:
            texts = np.arange(len(part.stages)) if part.repeats is None else part.repeats
            mine = slice(begin, begin + len(part.logits))
            margins.append(self.margins(part.logits, part.rows, texts))
            added.append(self._added(part.rows, texts))
            lowest.append(_smallest(np.where(added[-1], 1.0, scores[mine].max(axis=1)), part.rows, texts))
            begin = mine.stop
        best = scores.argmax(axis=-1)[~np.concatenate(added)]
        return Seen(best, np.concatenate(lowest)[None], np.concatenate(margins))

    def _added(self, rows: TokenRows, texts: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of the tokens of `texts` the tokenizer added, bool [vectors]."""
        return np.concatenate(
            [np.zeros(0, dtype=np.bool_), *(rows.places(row).added for row in rows.rows_of(texts)[0])]
        )


def _smallest(values: NDArray[np.float64], rows: TokenRows, texts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Of each of `texts`, float64 [texts], by what its tokens have, float64 [vectors]."""
    which, starts = rows.rows_of(texts)
    begins = bounds_of(rows.lengths[which])[:-1]
    smallest: NDArray[np.float64] = np.minimum.reduceat(values, begins if starts is None else begins[starts])
    return smallest
