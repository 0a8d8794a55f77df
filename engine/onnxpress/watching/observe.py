"""From answers to counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxpress.answered import Answered
from onnxpress.fidelity import Decision
from onnxpress.predictions import activate
from onnxpress.watching.bounds import LENGTHS, MARGINS, UNKNOWN_SHARES, score_bounds
from onnxpress.watching.counts import Bins, Counts, summed

if TYPE_CHECKING:
    from onnxpress.classifier import Classifier

__all__ = ["Observer", "Seen", "observer_of", "see"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is looked at of answers.

    Attributes:
        best: Number of each text's best label, intp [texts]; None for a regression.
        scores: The best label's score, float64 [1, texts]; of a regression, its values, float64 [outputs, texts].
        margins: How far each text is from another answer, float64 [texts]; None for a regression.
    """

    best: NDArray[np.intp] | None
    scores: NDArray[np.float64]
    margins: NDArray[np.float64] | None


def see(logits: NDArray[np.float32], decision: Decision) -> Seen:
    """What is looked at of `logits`, float32 [texts, labels]."""
    if decision.activation == "identity":
        return Seen(None, logits.T.astype(np.float64), None)
    scores = activate(logits, decision.activation)
    best = scores.argmax(axis=-1)
    return Seen(best, scores[np.arange(len(scores)), best][None].astype(np.float64), decision.margins(logits))


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """What must be known of a classifier to count its answers.

    Attributes:
        decision: What makes an answer of its logits.
        stages: Its stages' names.
        unknown_token: What its tokenizer writes for what it does not know; None where it knows everything.
    """

    decision: Decision
    stages: tuple[str, ...]
    unknown_token: int | None

    def counts(self, parts: Sequence[Answered]) -> Counts:
        """The counts of all `parts` together."""
        return summed(self._counts(part) for part in parts if len(part.logits))

    def _counts(self, answered: Answered) -> Counts:
        seen, tokens = see(answered.logits, self.decision), answered.tokens()
        unknown = None if self.unknown_token is None else answered.unknown(self.unknown_token)
        bounds = score_bounds(self.decision.activation)
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


def observer_of(classifier: Classifier) -> Observer:
    """What counts the answers of `classifier`."""
    return Observer(decision=classifier.decision, stages=classifier.stages, unknown_token=classifier.unknown_token)


def _binned(values: NDArray[np.generic], bounds: Sequence[float]) -> Bins:
    """By the first of `bounds` that a value does not exceed; one more beyond all."""
    return _tallied(np.searchsorted(bounds, values))


def _tallied(numbers: NDArray[np.generic]) -> Bins:
    found, counts = np.unique(numbers, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
