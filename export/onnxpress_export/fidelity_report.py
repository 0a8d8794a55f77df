"""`report.html`: what the lower precisions keep, and how far to believe scores. One page, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from onnxpress.answers.fidelity import certainty
from onnxpress.artifacts.calibration_record import Calibration, Reliability
from onnxpress.artifacts.cascade_record import Cascade, describe
from onnxpress.artifacts.manifest import Candidate, FileRecord, Variant
from onnxpress_export.graph_census import attention_count
from onnxpress_export.reliability_plot import reliability_plot

__all__ = ["REPORT_NAME", "write_report"]

REPORT_NAME: Final = "report.html"

_WIDTH, _HEIGHT, _MARGIN = 640, 320, 56
_TICKS: Final = 4


@dataclass(frozen=True, slots=True)
class _Point:
    """A mix in the plot: pixels, and what it is."""

    x: float
    y: float
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class _Plot:
    """Speed against changed answers; pixels from the top left corner.

    Attributes:
        points: The mixes that were measured.
        budget: Height of the budget's line.
        columns, rows: Pixel and label of each tick.
    """

    points: Sequence[_Point]
    budget: float
    columns: Sequence[tuple[float, str]]
    rows: Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class _Curves:
    """Changed answers, and speed, against the threshold of a cascade; each an SVG path, pixels from the top left.

    Attributes:
        changed, expected, speed: The curves.
        chosen: Where the threshold lies.
        columns, shares, speeds: Pixel and label of each tick, of the thresholds, the changed answers and the speeds.
    """

    changed: str
    expected: str
    speed: str
    chosen: float
    columns: Sequence[tuple[float, str]]
    shares: Sequence[tuple[float, str]]
    speeds: Sequence[tuple[float, str]]


def write_report(
    directory: Path,
    title: str,
    variants: Sequence[Variant],
    files: Mapping[str, FileRecord],
    cascade: Cascade | None = None,
    reliability: Reliability | None = None,
    calibration: Calibration | None = None,
) -> None:
    """Write the report of `variants`, the first of which is fp32, into `directory`, whose `files` are these.

    `cascade`, `reliability` and `calibration` are the manifest's.
    """
    environment = Environment(
        loader=PackageLoader("onnxpress_export"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html.jinja").render(
        title=title,
        certainty=certainty,
        reference=variants[0],
        variants=[variant for variant in variants if variant.fidelity is not None],
        attentions={v.precision: attention_count(v.cpu.operators) for v in variants},
        fp32_products={v.precision: c.products.get("fp32", 0) for v in variants for c in v.search if c.chosen},
        sizes={v.precision: sum(files[name].bytes for name in (v.cpu.file, *v.weights)) for v in variants},
        plots={v.precision: _plot(v.search, v.fidelity.budget) for v in variants if v.search and v.fidelity},
        cascade=cascade,
        cascade_line=None if cascade is None else describe(cascade),
        curves=None if cascade is None or not cascade.points else _curves(cascade),
        reliability=reliability,
        calibration=calibration,
        diagram=None
        if reliability is None
        else reliability_plot(reliability, None if calibration is None else calibration.reliability),
        width=_WIDTH,
        height=_HEIGHT,
        margin=_MARGIN,
    )
    (directory / REPORT_NAME).write_text(page, encoding="utf-8")


def _curves(cascade: Cascade) -> _Curves:
    points = cascade.points
    farthest = max(points[-1].threshold, 1e-9)
    most = max(max(point.changed, point.expected) for point in points) * 1.15 or 1.0
    fastest = max(point.speed for point in points) * 1.15

    def x(threshold: float) -> float:
        return round(_MARGIN + threshold / farthest * (_WIDTH - 2 * _MARGIN), 1)

    def y(share: float) -> float:
        return round(_HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN), 1)

    def line(shares: Sequence[float]) -> str:
        places = (f"{x(point.threshold)} {y(share)}" for point, share in zip(points, shares, strict=True))
        return "M" + " L".join(places)

    steps = [tick / _TICKS for tick in range(_TICKS + 1)]
    return _Curves(
        changed=line([point.changed / most for point in points]),
        expected=line([point.expected / most for point in points]),
        speed=line([point.speed / fastest for point in points]),
        chosen=x(cascade.thresholds["int8"]),  # the points are its own
        columns=[(x(step * farthest), f"{step * farthest:.3g}") for step in steps],
        shares=[(y(step), f"{step * most:.2%}") for step in steps],
        speeds=[(y(step), f"{step * fastest:.2f} ×") for step in steps],
    )


def _plot(candidates: Sequence[Candidate], budget: float) -> _Plot:
    speeds = [1 / candidate.time for candidate in candidates]
    slowest, fastest = min(1.0, *speeds), max(1.0, *speeds)
    highest = max(budget, *(max(candidate.changed, candidate.expected) for candidate in candidates))
    most = min(1.0, highest * 1.15 or 1.0)  # no share is above all

    def x(speed: float) -> float:
        return round(_MARGIN + (speed - slowest) / max(fastest - slowest, 1e-9) * (_WIDTH - 2 * _MARGIN), 1)

    def y(share: float) -> float:
        return round(_HEIGHT - _MARGIN - share / most * (_HEIGHT - 2 * _MARGIN), 1)

    steps = [tick / _TICKS for tick in range(_TICKS + 1)]
    return _Plot(
        points=[_Point(x(1 / candidate.time), y(candidate.changed), candidate) for candidate in candidates],
        budget=y(budget),
        columns=[(x(speed), f"{speed:.2f} ×") for speed in (slowest + step * (fastest - slowest) for step in steps)],
        rows=[(y(step * most), f"{step * most:.2%}") for step in steps],
    )
