"""Labels of a text: one vector of logits a text, those of a long one's windows pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.answered import Answered, joined_logits
from onnxpress.answers.fidelity import Decision
from onnxpress.answers.predictions import pool_windows
from onnxpress.inputs.encoder import TokenRows
from onnxpress.inputs.vectors import Bounds
from onnxpress.settings import Pooling
from onnxpress.tasks.task import Seen

__all__ = ["TextClassification"]


@dataclass(frozen=True, slots=True)
class TextClassification:
    """`Task` of labels, or values, of a text.

    Attributes:
        decision: What makes an answer of a text's logits.
        outputs: Columns of the logits.
        pooling: What becomes of the logits of a text's windows.
    """

    decision: Decision
    outputs: int
    pooling: Pooling = "mean"
    needs_places: ClassVar[bool] = False

    def row_bounds(self, lengths: NDArray[np.int64]) -> Bounds | None:
        """One vector a row."""
        return None

    def text_bounds(self, rows: TokenRows) -> Bounds | None:
        """One vector a text."""
        return None

    def joined(self, logits: NDArray[np.float32], starts: NDArray[np.intp] | None) -> NDArray[np.float32]:
        """The windows' logits, pooled: NaN where one of them is not finite."""
        if starts is None:
            return logits
        pooled = pool_windows(logits, starts, self.pooling)
        finite = np.logical_and.reduceat(np.isfinite(logits).all(axis=1), starts)
        return np.where(finite[:, None], pooled, np.float32(np.nan))

    def margins(self, logits: NDArray[np.float32], rows: TokenRows, texts: NDArray[np.intp]) -> NDArray[np.float64]:
        """How far each text is from another answer, by its own vector."""
        return self.decision.margins(logits)

    def seen(self, parts: Sequence[Answered]) -> Seen:
        """The best label of each text, its score and margin; of a regression its values."""
        logits = joined_logits(parts)
        if self.decision.activation == "identity":
            return Seen(None, logits.T.astype(np.float64), None)
        scores = self.decision.scores(logits)
        best = scores.argmax(axis=-1)
        sure = scores[np.arange(len(scores)), best][None].astype(np.float64)
        return Seen(best, sure, self.decision.margins(logits))
