"""Where the bins of a profile lie. They are part of its schema: profiles of one schema have the same.

Bins are fine, so that two profiles can be compared in coarser ones that fit both.
"""

from __future__ import annotations

from typing import Final

from onnxpress.artifacts.manifest import Activation

__all__ = ["LENGTHS", "MARGINS", "UNKNOWN_SHARES", "score_bounds"]

_SCORES: Final = (
    *(0.0001, 0.001, 0.002, 0.005),
    *(step / 100 for step in range(1, 100)),
    *(0.995, 0.998, 0.999, 0.9995, 0.9999, 1.0),
)
_SIZES: Final = tuple(10 ** (step / 40) for step in range(-80, 161))  # 0.01 to 10,000, forty a factor of ten
_VALUES: Final = (*(-size for size in reversed(_SIZES)), 0.0, *_SIZES)

MARGINS: Final = (
    *(step / 20 for step in range(1, 41)),
    *(2 + step / 10 for step in range(1, 31)),
    *(5 + step / 4 for step in range(1, 21)),
    *(10 + step / 2 for step in range(1, 21)),
    *(20 + step for step in range(1, 21)),
)
"""Upper bounds of margins, in logits; the last bin, without one, holds those that are infinite too."""

LENGTHS: Final = tuple(
    float(tokens)
    for tokens in (
        *range(1, 65),
        *range(72, 257, 8),
        *range(288, 513, 32),
        *range(640, 2_049, 128),
        *range(2_560, 8_193, 512),
    )
)
"""Upper bounds of a text's tokens."""

UNKNOWN_SHARES: Final = (0.0, *(step / 50 for step in range(1, 26)), 0.75, 1.0)
"""Upper bounds of the share of a text's tokens that are the unknown one."""


def score_bounds(activation: Activation) -> tuple[float, ...]:
    """Upper bounds of the best label's score, or of a regression's values."""
    return _VALUES if activation == "identity" else _SCORES
