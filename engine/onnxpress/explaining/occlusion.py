"""Occlusion: what the score loses once one word is masked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxpress.explaining.game import Game

__all__ = ["occlude"]


def occlude(game: Game, whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each word's share of the scores, float64 [words, labels], of a text with at least one word.

    Args:
        game: The text's masked variants.
        whole: Scores of the text itself, float64 [labels].
    """
    return whole - game(~np.eye(game.words, dtype=bool))
