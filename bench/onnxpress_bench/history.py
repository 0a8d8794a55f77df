"""Results over commits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from onnxpress.errors import ConfigError
from onnxpress_bench.compare import METRICS
from onnxpress_bench.html.figures import Drawn, legend
from onnxpress_bench.html.page import page
from onnxpress_bench.html.svg import draw, style
from onnxpress_bench.result import BenchResult, read_result
from onnxpress_bench.statistics import mean_ratio
from onnxpress_bench.table import Grid

__all__ = ["history_page", "read_history"]


def read_history(directory: Path) -> list[tuple[str, BenchResult]]:
    """The results in `directory`, oldest first.

    Raises:
        ConfigError: There is none, or one cannot be read.
    """
    found = [(path.name, read_result(path)) for path in sorted(directory.glob("*.json"))]
    if not found:
        raise ConfigError(f"{directory}: holds no .json result. `onnxpress bench run … --output FILE` writes one.")
    return sorted(found, key=lambda named: named[1].created)


def history_page(results: Sequence[tuple[str, BenchResult]]) -> str:
    """The page of `results`, oldest first: those of the newest one's machine and texts; others are named."""
    newest = results[-1][1]
    kept = [(name, result) for name, result in results if _alike(result, newest)]
    left = [name for name, result in results if not _alike(result, newest)]
    words = [f"Left out, measured on another machine or on other texts: {', '.join(left)}."] if left else []
    words += [f"Void by its own control: {name}." for name, result in kept if result.is_void]
    section = {
        "name": f"{len(kept)} results",
        "subtitle": f"{newest.machine.cpus} CPUs of {newest.machine.cpu}; {newest.texts.count:,} texts",
        "void": False,
        "figures": [_figure(metric, kept) for metric in METRICS],
        "tables": [
            Grid(
                "Results",
                ["file", "created", "commit", "onnxruntime"],
                [
                    [name, r.created[:16], r.commit[:10] or "–", r.machine.versions.get("onnxruntime", "–")]
                    for name, r in kept
                ],
            )
        ],
        "words": words,
    }
    return page("onnxpress over commits", [section])


def _alike(result: BenchResult, newest: BenchResult) -> bool:
    return (result.machine.cpu, result.machine.cpus, result.texts.sha256) == (
        newest.machine.cpu,
        newest.machine.cpus,
        newest.texts.sha256,
    )


def _figure(metric: str, results: Sequence[tuple[str, BenchResult]]) -> Drawn:
    unit, shown = METRICS[metric].unit, METRICS[metric].shown
    names = list(dict.fromkeys(s.spec.name for _, r in results for s in r.systems if s.spec.kind == "engine"))

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for index, name in enumerate(names):
            places, middles, lows, highs = [], [], [], []
            for place, (_, result) in enumerate(results):
                for system in result.systems:
                    if system.spec.name == name:
                        ends = _interval(METRICS[metric].figures(system))
                        low, middle, high = sorted(shown(end, result.texts.count) for end in ends)
                        places.append(place)
                        middles.append(middle)
                        lows.append(middle - low)
                        highs.append(high - middle)
            axes.errorbar(places, middles, yerr=[lows, highs], capsize=2, label=name, **style(index))
        commits = [result.commit[:7] or name.removesuffix(".json")[:12] for name, result in results]
        axes.set_xticks(range(len(commits)), commits, rotation=60, ha="right", fontsize=7)
        axes.set(ylabel=unit)
        axes.set_ylim(bottom=0)
        legend(figure, axes)

    anchor = f"history-{metric.split(',')[0].replace(' ', '-')}"
    return Drawn(
        anchor, metric.capitalize(), f"In {unit}, with 95 % intervals over the blocks.", draw(anchor, plot, height=3.6)
    )


def _interval(figures: Sequence[float]) -> tuple[float, float, float]:
    """The lower end, the geometric mean and the upper end; all the same of a single block."""
    found = mean_ratio(np.log(figures))
    return found.low or found.value, found.value, found.high or found.value
