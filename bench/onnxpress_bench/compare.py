"""Systems against each other, metric by metric, block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from onnxpress_bench.result import Comparison, SystemResult
from onnxpress_bench.statistics import median, paired_ratio, percentile, shared_confidence

__all__ = [
    "COLD_START",
    "METRICS",
    "SINGLE",
    "THROUGHPUT",
    "Metric",
    "block_figures",
    "compare_systems",
    "compare_with_itself",
    "compare_with_peers",
]


def block_figures(turns: Sequence[float]) -> list[float]:
    """One figure a block: the geometric mean of its two turns."""
    pairs = np.log(np.asarray(turns, dtype=float)).reshape(-1, 2)
    return [float(value) for value in np.exp(pairs.mean(axis=1))]


def _offline(result: SystemResult) -> list[float]:
    found = result.of("offline")
    return block_figures([turn.seconds for turn in found.turns]) if found else []


def _single(result: SystemResult) -> list[float]:
    found = result.of("single-stream")
    return block_figures([percentile(turn.latencies_ns, 50) for turn in found.turns]) if found else []


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure to compare systems by.

    Attributes:
        figures: One a block, where less is better.
        unit: In which it is shown.
        shown: What is shown for a figure on so many texts.
    """

    figures: Callable[[SystemResult], list[float]]
    unit: str
    shown: Callable[[float, int], float]


THROUGHPUT: Final = "throughput"
SINGLE: Final = "single request, p50"
COLD_START: Final = "cold start"
METRICS: Final[dict[str, Metric]] = {
    THROUGHPUT: Metric(_offline, "texts a second", lambda seconds, texts: texts / seconds),
    SINGLE: Metric(_single, "ms", lambda nanoseconds, _: nanoseconds / 1e6),
    COLD_START: Metric(
        lambda result: [float(ns) for ns in result.cold_start_ns], "seconds", lambda nanoseconds, _: nanoseconds / 1e9
    ),
    "peak memory": Metric(lambda result: [float(result.peak_memory_bytes)], "MiB", lambda size, _: size / 2**20),
}


def compare_systems(metric: str, system: SystemResult, peer: SystemResult, *, confidence: float = 0.95) -> Comparison:
    """`system` against `peer` in `metric`; above 1 the first is better."""
    figures = METRICS[metric].figures
    ratio = paired_ratio(figures(peer), figures(system), confidence=confidence)
    return Comparison(metric=metric, system=system.spec.name, peer=peer.spec.name, ratio=ratio)


def compare_with_itself(system: SystemResult, control: SystemResult) -> list[Comparison]:
    """The A/A control: `control` is the same system in another process.

    Both metrics' intervals hold at once with 95 %: examples/simulate_verdicts.py tells how often a sound run is void.
    """
    metrics = (THROUGHPUT, SINGLE)
    confidence = shared_confidence(0.95, len(metrics))
    return [compare_systems(metric, system, control, confidence=confidence) for metric in metrics]


def compare_with_peers(results: Sequence[SystemResult]) -> list[Comparison]:
    """The engine's best setting of each precision against each peer, by metric."""
    engines = [result for result in results if result.spec.kind == "engine"]
    peers = [result for result in results if result.spec.kind != "engine"]
    found: list[Comparison] = []
    for metric, measure in METRICS.items():
        for precision in dict.fromkeys(result.spec.precision for result in engines):
            settings = [result for result in engines if result.spec.precision == precision]
            best = min(settings, key=lambda result: median(measure.figures(result)))
            found += [compare_systems(metric, best, peer) for peer in peers]
    return found
