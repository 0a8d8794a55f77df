"""A reliability diagram as pixels: how often decisions of about the same confidence are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from onnxpress.artifacts.calibration_record import Reliability

__all__ = ["ReliabilityPlot", "reliability_plot"]

_SIDE, _MARGIN = 360, 48
_TICKS: Final = 5
_LEAST_RADIUS, _MOST_RADIUS = 2.0, 14.0


@dataclass(frozen=True, slots=True)
class _Dot:
    """The decisions of one bin: where, how large, and in words."""

    x: float
    y: float
    radius: float
    words: str


@dataclass(frozen=True, slots=True)
class ReliabilityPlot:
    """A diagram; pixels from the top left corner.

    Attributes:
        side: Of the square.
        low, high: Where 0 and 1 lie on the horizontal axis; on the vertical one the other way round.
        ticks: Pixel of each tick, and its label on the horizontal and on the vertical axis.
        before, after: Each bin's dot, by the model's own scores and by the calibrated ones, if there are any.
    """

    side: int
    low: int
    high: int
    ticks: Sequence[tuple[float, str, str]]
    before: Sequence[_Dot]
    after: Sequence[_Dot]


def reliability_plot(before: Reliability, after: Reliability | None) -> ReliabilityPlot:
    """The diagram of a model's own scores, and of the calibrated ones."""
    return ReliabilityPlot(
        side=_SIDE,
        low=_MARGIN,
        high=_SIDE - _MARGIN,
        ticks=[
            (_place(tick / _TICKS), f"{tick / _TICKS:.0%}", f"{1 - tick / _TICKS:.0%}") for tick in range(_TICKS + 1)
        ],
        before=_dots(before),
        after=[] if after is None else _dots(after),
    )


def _dots(found: Reliability) -> list[_Dot]:
    return [
        _Dot(
            x=_place(part.confidence),
            y=_place(1 - part.right),
            radius=round(max(_LEAST_RADIUS, _MOST_RADIUS * (part.decisions / found.decisions) ** 0.5), 1),
            words=f"{part.decisions:,} decisions: sure by {part.confidence:.1%}, right in {part.right:.1%}",
        )
        for part in found.bins
        if part.decisions
    ]


def _place(share: float) -> float:
    return round(_MARGIN + share * (_SIDE - 2 * _MARGIN), 1)
