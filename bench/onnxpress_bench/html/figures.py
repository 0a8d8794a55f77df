"""The figures of a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, PercentFormatter, StrMethodFormatter

from onnxpress_bench.compare import METRICS, THROUGHPUT
from onnxpress_bench.html.svg import INK, draw, style
from onnxpress_bench.result import BenchResult
from onnxpress_bench.statistics import least_samples, mean_ratio, median, percentile
from onnxpress_bench.table import throughput

__all__ = ["Drawn", "figures_of", "legend", "share_limits"]

_LINE: Final = 0.19  # inches of a line of text
_EDGE: Final[dict[str, Any]] = {"edgecolor": INK, "linewidth": 0.4}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure on the page.

    Attributes:
        name: Its anchor.
        title: What it shows.
        caption: How to read it.
        svg: The drawing.
    """

    name: str
    title: str
    caption: str
    svg: str


def figures_of(result: BenchResult, prefix: str) -> list[Drawn]:
    """Every figure that `result` has the samples for; `prefix` keeps their names apart from another result's."""
    drawn = (make(result, prefix) for make in (_ecdf, _bars, _load, _sweep, _roofline, _accuracy))
    return [figure for figure in drawn if figure is not None]


def legend(figure: Figure, axes: Axes) -> None:
    """Names below the drawing, two beside each other."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, handlelength=3)


def share_limits(percents: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis for shares in per cent, with some room below the least; there is none above 100."""
    least = min(percents)
    return max(0.0, least - max(1.0, 0.15 * (100 - least))), 100.0


def _name_bars(axes: Axes, names: Sequence[str], values: Sequence[str]) -> None:
    """Names on the left and values on the right of horizontal bars, outside the drawing, where no line runs."""
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.grid(axis="y", visible=False)
    for place, value in enumerate(values):
        axes.text(1.02, place, value, transform=axes.get_yaxis_transform(), va="center", fontsize=8)


def _line(index: int) -> dict[str, Any]:
    return style(index) | {"marker": ""}


def _legend_inches(systems: int) -> float:
    return _LINE * ((systems + 1) // 2)


def _ecdf(result: BenchResult, prefix: str) -> Drawn | None:
    found = [(index, s, m) for index, s in enumerate(result.systems) if (m := s.of("single-stream"))]
    if not found:
        return None

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for index, system, measurement in found:
            latencies = np.sort(measurement.latencies_ns()) / 1e6
            shares = np.arange(1, len(latencies) + 1) / len(latencies)
            axes.step(latencies, shares, where="post", label=system.spec.name, clip_on=False, **_line(index))
        axes.set_xscale("log")
        _plain_ticks(axes)
        axes.set(xlabel="latency of a single request, ms", ylabel="share of requests", ylim=(0, 1))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        legend(figure, axes)

    samples = min(len(m.latencies_ns()) for _, _, m in found)
    return Drawn(
        f"{prefix}latency",
        "Latency of single requests",
        f"Share of requests answered within a time; {samples:,} requests a system, tokenization included. Further left "
        "is better.",
        draw(f"{prefix}latency", plot, height=3 + _legend_inches(len(found))),
    )


def _bars(result: BenchResult, prefix: str) -> Drawn | None:
    texts = result.texts.count
    rows = sorted(
        (
            (index, s, mean_ratio(np.log(texts / np.asarray(METRICS[THROUGHPUT].figures(s)))))
            for index, s in enumerate(result.systems)
            if s.of("offline")
        ),
        key=lambda row: row[2].value,
    )
    if not rows:
        return None

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (index, system, rate) in enumerate(rows):
            hatch = "" if system.agreement.is_kept else "///"
            axes.barh(place, rate.value, color=style(index)["color"], height=0.6, hatch=hatch, **_EDGE)
            if rate.low is not None and rate.high is not None:
                ends = [[rate.value - rate.low], [rate.high - rate.value]]
                axes.errorbar(rate.value, place, xerr=ends, color=INK, capsize=2, linewidth=1)
        longest = max(rate.value for _, _, rate in rows)
        axes.set_xlim(0, min(max(rate.high or rate.value for _, _, rate in rows), 1.5 * longest) * 1.02)
        _name_bars(axes, [system.spec.name for _, system, _ in rows], [f"{rate.value:,.0f}" for _, _, rate in rows])
        axes.set(xlabel="texts a second, all at once")

    return Drawn(
        f"{prefix}throughput",
        "Throughput",
        "All texts handed over at once, tokenization included, with 95 % intervals over the blocks. Hatched: labels "
        "differ by more than may. Longer is better.",
        draw(f"{prefix}throughput", plot, height=0.8 + 0.27 * len(rows)),
    )


def _load(result: BenchResult, prefix: str) -> Drawn | None:
    served = [(i, s, [m for m in s.measurements if m.load.rate is not None]) for i, s in enumerate(result.systems)]
    counts = [len(m.latencies_ns()) for _, _, measurements in served for m in measurements]
    if not counts:
        return None
    percent = next((percent for percent in (99, 90) if min(counts) >= least_samples(percent)), 50)
    found = [
        (index, system, [(m.load.rate, percentile(m.latencies_ns(), percent) / 1e6) for m in measurements])
        for index, system, measurements in served
        if measurements
    ]

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for index, system, points in found:
            axes.plot(*zip(*points, strict=True), label=system.spec.name, **style(index))
        axes.set_yscale("log")
        _plain_ticks(axes)
        axes.set(xlabel="arrivals a second", ylabel=f"{percent}th percentile of latency, ms")
        legend(figure, axes)

    return Drawn(
        f"{prefix}load",
        "Latency under load",
        "Requests arrive at random times, at shares of each system's own throughput; latency counts from when a "
        "request was due. Further down and to the right is better.",
        draw(f"{prefix}load", plot, height=3 + _legend_inches(len(found))),
    )


def _sweep(result: BenchResult, prefix: str) -> Drawn | None:
    found = [(index, system) for index, system in enumerate(result.systems) if system.sweep]
    if not found:
        return None
    batches = sorted({point.batch for _, system in found for point in system.sweep})

    def plot(figure: Figure) -> None:
        grid = figure.subplots(len(batches), sharex=True, squeeze=False)[:, 0]
        for axes, batch in zip(grid, batches, strict=True):
            for index, system in found:
                points = [(p.tokens, median(p.nanoseconds) / 1e6) for p in system.sweep if p.batch == batch]
                axes.plot(*zip(*sorted(points), strict=True), label=system.spec.name, **style(index))
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            _plain_ticks(axes)
            axes.set(ylabel=f"ms for {batch} text{'s' * (batch > 1)}")
        tokens = sorted({point.tokens for _, system in found for point in system.sweep})
        grid[-1].set_xticks(tokens, [str(count) for count in tokens])
        grid[-1].set(xlabel="tokens a text")
        legend(figure, grid[0])

    return Drawn(
        f"{prefix}lengths",
        "Lengths and batches",
        "Time for texts of one length, one and several at once. Further down is better.",
        draw(f"{prefix}lengths", plot, height=0.5 + 2.1 * len(batches) + _legend_inches(len(found))),
    )


def _roofline(result: BenchResult, prefix: str) -> Drawn | None:
    flops = result.model_flops
    if flops is None or not result.gemm_flops:
        return None
    machine = result.gemm_flops / 1e9
    rates = sorted(
        (
            (index, s, flops / result.texts.count * throughput(s, result.texts.count) / 1e9)
            for index, s in enumerate(result.systems)
        ),
        key=lambda row: row[2],
    )

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (index, _, rate) in enumerate(rates):
            axes.barh(place, rate, color=style(index)["color"], height=0.6, **_EDGE)
        axes.axvline(machine, color=INK, linestyle="--", linewidth=1.2)
        axes.set_xlim(0, 1.05 * max(machine, *(rate for _, _, rate in rates)))
        _name_bars(axes, [s.spec.name for _, s, _ in rates], [f"{rate / machine:.2f}×" for _, _, rate in rates])
        axes.set(xlabel="GFLOP/s of the whole model's arithmetic")

    return Drawn(
        f"{prefix}roofline",
        "Against the machine",
        "Arithmetic that the texts' own tokens take in the whole model, by throughput; the line is this "
        f"machine's rate in large fp32 products, {result.gemm_flops / 1e9:,.0f} GFLOP/s. int8, and arithmetic that is "
        "left out, can pass it.",
        draw(f"{prefix}roofline", plot, height=0.8 + 0.27 * len(rates)),
    )


def _accuracy(result: BenchResult, prefix: str) -> Drawn | None:
    points = [
        (index, s, throughput(s, result.texts.count), 100 * s.agreement.equal_labels / s.agreement.texts)
        for index, s in enumerate(result.systems)
    ]
    compared = points[0][1].agreement.compared

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for index, system, rate, equal in points:
            look = style(index) | {"linestyle": "", "markersize": 7}
            axes.plot(rate, equal, label=system.spec.name, clip_on=False, **look)
        axes.set(xlabel="texts a second, all at once", ylabel=f"{compared} equal to the reference's, %")
        axes.margins(0.1)
        axes.set_xlim(left=0)
        axes.set_ylim(*share_limits([equal for _, _, _, equal in points]))
        legend(figure, axes)

    return Drawn(
        f"{prefix}answers",
        "Answers beside speed",
        f"Share of {compared} equal to those of {points[0][1].agreement.reference}. Further up and to the right is "
        "better.",
        draw(f"{prefix}answers", plot, height=3 + _legend_inches(len(points))),
    )


def _plain_ticks(axes: Axes) -> None:
    """Logarithmic axes with a few numbers, as they are and not as powers of ten."""
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_locator(NullLocator())
