"""What the engine's common part asks of a task, and all that it knows of answers.

A model gives vectors of logits: one for a text, or one for each of its tokens. The common part tokenizes, plans, runs,
and asks here how many vectors there are, what becomes of a long text's windows, and how far an answer is from another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.answered import Answered
from onnxpress.answers.fidelity import Decision
from onnxpress.inputs.encoder import TokenRows
from onnxpress.inputs.vectors import Bounds

__all__ = ["Seen", "Task"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is looked at of answers, to count them.

    Attributes:
        best: Number of the best label of each vector that decides something, intp [vectors]; None for a regression.
        scores: The best label's score, a text's smallest, float64 [1, texts]; of a regression, its values, float64
            [outputs, texts].
        margins: How far each text is from another answer, float64 [texts]; None for a regression.
    """

    best: NDArray[np.intp] | None
    scores: NDArray[np.float64]
    margins: NDArray[np.float64] | None


class Task(Protocol):
    """What an answer is."""

    @property
    def outputs(self) -> int:
        """Columns of the logits."""

    @property
    def decision(self) -> Decision:
        """What makes an answer of one vector."""

    @property
    def needs_places(self) -> bool:
        """Whether answers tell where tokens stand in their text."""

    def row_bounds(self, lengths: NDArray[np.int64]) -> Bounds | None:
        """Bounds of the vectors that rows of `lengths` tokens give; None where each gives one."""

    def text_bounds(self, rows: TokenRows) -> Bounds | None:
        """Bounds of the vectors that are left of each text once its windows are joined; None where one is."""

    def joined(self, logits: NDArray[np.float32], starts: NDArray[np.intp] | None) -> NDArray[np.float32]:
        """What is left of the vectors of all windows, float32 [vectors, labels]: those of each text.

        `starts` is the first row of each text, as in `TokenRows`. Where a window's logits are not finite, the text's
        are not.
        """

    def margins(self, logits: NDArray[np.float32], rows: TokenRows, texts: NDArray[np.intp]) -> NDArray[np.float64]:
        """How far each of `texts` is from another answer, float64 [texts]: the smallest margin of its vectors.

        `logits` are the joined vectors of these texts alone; `texts` are their numbers in `rows`.
        """

    def seen(self, parts: Sequence[Answered]) -> Seen:
        """What is looked at of the answers of all `parts`, at least one."""
