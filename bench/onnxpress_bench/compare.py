"""The engine's best setting against the best peer, metric by metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from onnxpress_bench.result import Comparison, SystemResult
from onnxpress_bench.statistics import Ratio, median, paired_ratio, percentile

__all__ = ["compare_with_peers"]

_Samples = Callable[[SystemResult], list[float]]

# Each gives a figure a round where less is better.
_METRICS: Final[dict[str, _Samples]] = {
    "throughput": lambda result: [float(ns) for ns in result.bulk_ns],
    "single request, p50": lambda result: [percentile(ns, 50) for ns in result.single_ns],
    "cold start": lambda result: [float(ns) for ns in result.cold_start_ns],
    "peak memory": lambda result: [float(result.peak_memory_bytes)],
}


def compare_with_peers(results: Sequence[SystemResult]) -> list[Comparison]:
    """One comparison a metric; none when no peer was measured."""
    engines = [result for result in results if result.spec.kind == "engine"]
    peers = [result for result in results if result.spec.kind != "engine"]
    return [_compare(name, samples, engines, peers) for name, samples in _METRICS.items() if peers]


def _compare(
    name: str, samples: _Samples, engines: Sequence[SystemResult], peers: Sequence[SystemResult]
) -> Comparison:
    engine, peer = (min(group, key=lambda result: median(samples(result))) for group in (engines, peers))
    ratio: Ratio = paired_ratio(samples(peer), samples(engine))
    return Comparison(metric=name, system=engine.spec.name, peer=peer.spec.name, ratio=ratio)
