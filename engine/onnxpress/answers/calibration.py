"""Scores held against right answers, and the temperature that brings them together.

Temperature scaling (Guo et al. 2017) divides all logits by one number. It moves no logit past another, nor past zero,
so labels stay as they are; it is found on texts that have labels, and measured on others.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.predictions import activate
from onnxpress.artifacts.calibration_record import Reliability, ReliabilityBin
from onnxpress.artifacts.manifest import Activation

__all__ = ["fit_temperature", "log_loss", "reliability_of"]

_BINS: Final = 15
_SURE: Final = 0.9
_HALF: Final = 0.5
_COLDEST, _WARMEST = 0.05, 20.0
_HALVINGS: Final = 50


def reliability_of(logits: NDArray[np.float32], wanted: NDArray[np.bool_], activation: Activation) -> Reliability:
    """What the scores of `logits`, float32 [texts, labels], say of the labels `wanted`, bool of the same shape.

    Args:
        logits: Already divided by the temperature, where there is one; at least one text.
        wanted: The right labels; with "softmax" one of each text.
        activation: "softmax" or "sigmoid".
    """
    scores = activate(logits, activation).astype(np.float64)
    if activation == "softmax":
        best = scores.argmax(axis=1)
        places = np.arange(len(scores))
        confidence, right = scores[places, best], wanted[places, best]
    else:
        found = scores >= _HALF
        confidence, right = np.where(found, scores, 1 - scores).ravel(), (found == wanted).ravel()
    number = np.minimum((confidence * _BINS).astype(np.intp), _BINS - 1)
    counts = np.bincount(number, minlength=_BINS)
    sums = np.bincount(number, confidence, minlength=_BINS)
    hits = np.bincount(number, right, minlength=_BINS)
    filled = np.maximum(counts, 1)
    return Reliability(
        texts=len(logits),
        decisions=len(right),
        error=float(np.abs(sums - hits).sum() / len(right)),
        log_loss=log_loss(logits, wanted, activation),
        right=int(right.sum()),
        confidence_right=_mean(confidence[right]),
        confidence_wrong=_mean(confidence[~right]),
        surely_wrong=int((confidence[~right] >= _SURE).sum()),
        bins=tuple(
            ReliabilityBin(decisions=count, confidence=mean, right=share)
            for count, mean, share in zip(
                counts.tolist(), (sums / filled).tolist(), (hits / filled).tolist(), strict=True
            )
        ),
    )


def log_loss(logits: NDArray[np.float32], wanted: NDArray[np.bool_], activation: Activation) -> float:
    """The mean negative logarithm of the score of each right label; with "sigmoid", of each label's right side."""
    exact = logits.astype(np.float64)
    if activation == "softmax":
        top = exact.max(axis=1)
        whole = top + np.log(np.exp(exact - top[:, None]).sum(axis=1))
        return float((whole - exact[wanted]).mean())
    return float(np.logaddexp(0.0, np.where(wanted, -exact, exact)).mean())


def fit_temperature(logits: NDArray[np.float32], wanted: NDArray[np.bool_], activation: Activation) -> float:
    """The temperature with the least `log_loss`, from 0.05 to 20.

    The loss is convex in the temperature's inverse, so that where its slope is 0 lies its only minimum. Arguments as in
    `reliability_of`.
    """
    exact = logits.astype(np.float64)

    def slope(inverse: float) -> float:
        scores = activate((exact * inverse).astype(np.float32), activation)
        return float(((scores - wanted) * exact).sum())

    low, high = np.log(1 / _WARMEST), np.log(1 / _COLDEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(float(np.exp(middle))) > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None
