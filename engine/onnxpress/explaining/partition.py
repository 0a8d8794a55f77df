"""SHAP's Partition explainer, from the `shap` package: Owen values over a tree of neighbouring words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.errors import CheckFailedError
from onnxpress.explaining.game import Game

__all__ = ["partition", "tree_of"]

_BATCH: Final = 64
"""Variants that the explainer asks for at once: it looks at the most telling groups first, a batch at a time."""

# Sums of some hundred differences of float32 scores, made in float64: far below what is read off a share.
_TOLERANCE: Final = 1e-6


class _Coalitions:
    """A masker that leaves the masking to the game: a coalition of words is passed on as it is."""

    immutable_outputs = True

    def __init__(self, tree: NDArray[np.float64]) -> None:
        self.clustering = tree
        self.shape = (1, len(tree) + 1)

    def __call__(self, kept: NDArray[np.bool_], _: object) -> NDArray[np.bool_]:
        return kept[None]


def partition(
    game: Game, breaks: Sequence[int], base: NDArray[np.float64], whole: NDArray[np.float64], evaluations: int
) -> NDArray[np.float64]:
    """Each word's share of the scores, float64 [words, labels], of a text with at least one word.

    Args:
        game: The text's masked variants.
        breaks: As `tree_of` takes them.
        base: Scores with every word masked, float64 [labels].
        whole: Scores of the text itself.
        evaluations: How many variants may be asked for; with fewer than a text needs, the words of a group share alike.

    Raises:
        CheckFailedError: The shares do not add up to `whole - base`.
    """
    if game.words == 1:
        return (whole - base)[None]
    from shap.explainers import PartitionExplainer

    explainer: Any = PartitionExplainer(game, _Coalitions(tree_of(breaks)))
    everything = np.ones((1, game.words), dtype=bool)
    found = explainer(everything, max_evals=evaluations, batch_size=_BATCH, silent=True)
    shares = np.asarray(found.values[0], dtype=np.float64)
    off = np.abs(base + shares.sum(axis=0) - whole).max()
    if not off <= _TOLERANCE * max(1.0, float(np.abs(whole - base).max())):
        raise CheckFailedError(
            f"the shares of {game.words} words miss the score by {off:.2g}. Pass method='occlusion', or "
            "install another release of shap."
        )
    return shares


def tree_of(breaks: Sequence[int]) -> NDArray[np.float64]:
    """A binary tree over words, float64 [words - 1, 4], as `scipy.cluster.hierarchy.linkage` gives it.

    A group is parted at its strongest break, and of equal ones at the one nearest to its middle.

    Args:
        breaks: How strongly each word but the last is parted from the next, [words - 1].
    """
    words = len(breaks) + 1
    ranges = [(0, words)]
    children: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for start, end in ranges:  # grows: a group comes before the two that it is made of
        if end - start > 1:
            middle = (start + end) / 2
            cut = max(range(start + 1, end), key=lambda place: (breaks[place - 1], -abs(place - middle)))
            children.append(((start, cut), (cut, end)))
            ranges += children[-1]
    tree = np.empty((words - 1, 4))
    numbers = {(place, place + 1): place for place in range(words)}
    for row, (left, right) in enumerate(reversed(children)):
        size = right[1] - left[0]
        tree[row] = numbers[left], numbers[right], size, size
        numbers[left[0], right[1]] = words + row
    return tree
