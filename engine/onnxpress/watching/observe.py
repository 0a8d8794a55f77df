"""From answers to counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.answered import Answered
from onnxpress.tasks.task import Task
from onnxpress.watching.bounds import LENGTHS, MARGINS, UNKNOWN_SHARES, score_bounds
from onnxpress.watching.counts import Bins, Counts, summed

if TYPE_CHECKING:
    from onnxpress.model import Model

__all__ = ["Observer", "observer_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """What must be known of a model to count its answers.

    Attributes:
        task: What they are.
        stages: Its stages' names.
        unknown_token: What its tokenizer writes for what it does not know; None where it knows everything.
    """

    task: Task
    stages: tuple[str, ...]
    unknown_token: int | None

    def counts(self, parts: Sequence[Answered]) -> Counts:
        """The counts of all `parts` together."""
        return summed(self._counts(part) for part in parts if len(part))

    def _counts(self, answered: Answered) -> Counts:
        seen, tokens = self.task.seen([answered]), answered.tokens()
        unknown = None if self.unknown_token is None else answered.unknown(self.unknown_token)
        bounds = score_bounds(self.task.decision.activation)
        return Counts(
            texts=len(tokens),
            labels={} if seen.best is None else _tallied(seen.best),
            scores=tuple(_binned(values, bounds) for values in seen.scores),
            margins={} if seen.margins is None else _binned(seen.margins, MARGINS),
            lengths=_binned(tokens, LENGTHS),
            unknown_shares={} if unknown is None else _binned(unknown / tokens, UNKNOWN_SHARES),
            tokens=int(tokens.sum()),
            unknown_tokens=0 if unknown is None else int(unknown.sum()),
            cut=int(answered.cut().sum()),
            in_windows=int(answered.in_windows().sum()),
            answered=dict(
                zip(self.stages, np.bincount(answered.stages, minlength=len(self.stages)).tolist(), strict=True)
            ),
        )


def observer_of(model: Model) -> Observer:
    """What counts the answers of `model`."""
    return Observer(task=model.task, stages=model.stages, unknown_token=model.unknown_token)


def _binned(values: NDArray[np.generic], bounds: Sequence[float]) -> Bins:
    """By the first of `bounds` that a value does not exceed; one more beyond all."""
    return _tallied(np.searchsorted(bounds, values))


def _tallied(numbers: NDArray[np.generic]) -> Bins:
    found, counts = np.unique(numbers, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
