"""Logits to probabilities and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxpress.artifacts.manifest import Activation
from onnxpress.settings import Pooling, require_whole

__all__ = [
    "Prediction",
    "accepted_labels",
    "activate",
    "best_labels",
    "default_thresholds",
    "pool_windows",
    "predicted",
    "require_top_k",
    "top_labels",
]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and its score: a probability, or the raw value for regression."""

    label: str
    score: float


def activate(logits: NDArray[np.float32], activation: Activation) -> NDArray[np.float32]:
    """Scores, float32 [texts, labels]: softmax over the labels, sigmoid of each, or the value itself."""
    if activation == "identity":
        return logits
    if activation == "sigmoid":
        decay = np.exp(-np.abs(logits))  # never overflows; sigmoid(-x) = 1 - sigmoid(x)
        return np.where(logits >= 0, 1 / (1 + decay), decay / (1 + decay)).astype(np.float32, copy=False)
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores: NDArray[np.float32] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return scores


def pool_windows(logits: NDArray[np.float32], starts: NDArray[np.intp], pooling: Pooling) -> NDArray[np.float32]:
    """One row a text, float32 [texts, labels], of its windows' logits: their mean, or each label's largest.

    Args:
        logits: float32 [windows, labels].
        starts: The first window of each text, ascending, intp [texts].
        pooling: "mean" or "max".
    """
    pooled: NDArray[np.float32]
    if pooling == "max":
        pooled = np.maximum.reduceat(logits, starts)
    else:
        counts = np.diff(starts, append=len(logits)).astype(np.float32)
        pooled = (np.add.reduceat(logits, starts) / counts[:, None]).astype(np.float32)
    return pooled


def best_labels(scores: NDArray[np.float32], labels: Sequence[str]) -> list[Prediction]:
    """The highest-scoring label of each row; the first of equals."""
    best = scores.argmax(axis=-1)
    values = scores[np.arange(len(scores)), best].tolist()
    return [Prediction(labels[index], score) for index, score in zip(best.tolist(), values, strict=True)]


def predicted(
    scores: NDArray[np.float32], labels: Sequence[str], top_k: int | None
) -> list[Prediction] | list[list[Prediction]]:
    """The best label of each row, or the `top_k` best of each."""
    return best_labels(scores, labels) if top_k is None else top_labels(scores, labels, top_k)


def require_top_k(top_k: int | None) -> None:
    """Raise ConfigError when `top_k` is no whole number, or below 1."""
    if top_k is not None:
        require_whole("top_k", top_k)


def default_thresholds(labels: int) -> tuple[float, ...]:
    """What many-label models accept from where nothing else is said: one half, for each of `labels` labels."""
    return (0.5,) * labels


def top_labels(scores: NDArray[np.float32], labels: Sequence[str], count: int) -> list[list[Prediction]]:
    """The `count` highest-scoring labels of each row, best first; all of them where there are fewer."""
    ranked = np.argsort(-scores, axis=-1, kind="stable")[:, :count]
    return [
        [Prediction(labels[index], float(row[index])) for index in order]
        for row, order in zip(scores, ranked.tolist(), strict=True)
    ]


def accepted_labels(
    scores: NDArray[np.float32], labels: Sequence[str], reached: NDArray[np.bool_]
) -> list[list[Prediction]]:
    """The labels of each row that have `reached` their threshold, bool [texts, labels], best first."""
    ranked = top_labels(np.where(reached, scores, np.float32(-1)), labels, len(labels))
    return [row[:count] for row, count in zip(ranked, reached.sum(axis=-1).tolist(), strict=True)]
