"""From which margin on an answer of int8 is kept; below it fp32 answers again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.budget import chance_within
from onnxpress.answers.fidelity import Answers
from onnxpress.artifacts.cascade_record import CascadePoint

__all__ = ["CHANCE", "after_recheck", "keeps_budget", "least_threshold", "threshold_points"]

CHANCE: Final = 0.9
"""How likely the unseen texts must keep the budget too."""

_HALVINGS: Final = 30
_SHARES: Final = (0.0, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Of texts answered again, for which a report shows what would change."""


def after_recheck(answers: Answers, logits: NDArray[np.float32], threshold: float) -> tuple[float, float, float]:
    """What `logits` change where texts with a margin below `threshold` are answered again by the reference.

    Returns the share of texts answered again, of those with another answer after that, and of those that the noise of
    `logits` would change on average.
    """
    sure = answers.margins(logits) >= threshold
    return (
        float(1 - sure.mean()),
        float((answers.changed(logits) & sure).mean()),
        answers.expected(logits, threshold),
    )


def keeps_budget(changed: float, expected: float, *, budget: float, unseen: int) -> bool:
    """Whether these shares keep `budget`, and `unseen` texts most likely too: see CHANCE."""
    return changed <= budget and chance_within(max(changed, expected), budget, unseen) >= CHANCE


def least_threshold(
    answers: Answers, logits: NDArray[np.float32], *, budget: float, unseen: int, at_least: float = 0.0
) -> float:
    """The smallest threshold, from `at_least` on, with which `logits` keep the budget.

    The noise that was seen says where the search ends: no margin that it could turn lies above its largest number.
    """

    def keeps(threshold: float) -> bool:
        _, changed, expected = after_recheck(answers, logits, threshold)
        return keeps_budget(changed, expected, budget=budget, unseen=unseen)

    if keeps(at_least) or not np.isfinite(logits).all():  # which no threshold mends
        return at_least
    margins = answers.margins(logits)
    noise = answers.deciding(answers.logits) - answers.deciding(logits)
    changed = answers.changed(logits)
    farthest = max(float(noise.max(initial=0)), float(margins[changed].max(initial=0)), at_least)
    low, high = at_least, np.nextafter(farthest, np.inf) * (1 + 1e-9)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return float(high)


def threshold_points(
    answers: Answers, logits: NDArray[np.float32], chosen: float, time: Callable[[NDArray[np.bool_]], float]
) -> tuple[CascadePoint, ...]:
    """What thresholds around the `chosen` one would do.

    `time` gives the time, fp32's being 1, when the texts that it is given, bool [texts], are answered again.
    """
    margins = answers.margins(logits)
    thresholds = {0.0, chosen, *(float(np.quantile(margins, share)) for share in _SHARES[1:])}
    points = []
    for threshold in sorted(thresholds):
        again, changed, expected = after_recheck(answers, logits, threshold)
        points.append(
            CascadePoint(
                threshold=threshold,
                again=again,
                changed=changed,
                expected=expected,
                speed=1 / time(margins < threshold),
            )
        )
    return tuple(points)
