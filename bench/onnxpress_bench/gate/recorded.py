"""Two recorded results compared: less power than measuring now, since nothing is paired."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from onnxpress.errors import ConfigError
from onnxpress_bench.compare import METRICS, SINGLE, THROUGHPUT
from onnxpress_bench.gate.decision import Finding, GateResult, overall, verdict_of
from onnxpress_bench.result import BenchResult, SystemResult
from onnxpress_bench.statistics import LEAST_PAIRS, Ratio, shared_confidence

__all__ = ["compare_recorded"]

_METRICS: Final = (THROUGHPUT, SINGLE)
_CONFIDENCE: Final = 0.95


def compare_recorded(
    baseline: BenchResult, candidate: BenchResult, *, names: tuple[str, str], limit: float
) -> GateResult:
    """Every engine system that both results hold, by Welch's interval of the difference of mean logarithms.

    Each block had processes of its own, so blocks, and with them the noise of processes, are what is counted. The
    intervals hold all at once with 95 %, however many systems there are.

    Raises:
        ConfigError: The results are of other texts, other processors, or share no system.
    """
    if baseline.texts.sha256 != candidate.texts.sha256:
        raise ConfigError(
            f"{names[0]} was measured on {baseline.texts.count:,} texts, {names[1]} on {candidate.texts.count:,} "
            "others. Measure both on the same file."
        )
    if (baseline.machine.cpu, baseline.machine.cpus) != (candidate.machine.cpu, candidate.machine.cpus):
        raise ConfigError(
            f"{names[0]} was measured on {baseline.machine.cpus} CPUs of {baseline.machine.cpu}, {names[1]} on "
            f"{candidate.machine.cpus} of {candidate.machine.cpu}. Measure both on the same machine."
        )
    before = {system.spec.name: system for system in baseline.systems if system.spec.kind == "engine"}
    after = {system.spec.name: system for system in candidate.systems if system.spec.kind == "engine"}
    shared = [name for name in before if name in after]
    if not shared:
        raise ConfigError(f"{names[0]} and {names[1]} hold no engine system of the same name.")
    confidence = shared_confidence(_CONFIDENCE, len(shared) * len(_METRICS))
    findings = [
        _finding(f"{name}: {metric}", METRICS[metric].figures, before[name], after[name], limit, confidence)
        for name in shared
        for metric in _METRICS
    ]
    notes = [
        "From recorded results: the two were not measured side by side, so that anything else that changed counts."
    ]
    if min(finding.slowdown.pairs for finding in findings) < LEAST_PAIRS:
        notes.append(f"A verdict needs {LEAST_PAIRS} blocks of each. Measure with --blocks {LEAST_PAIRS} or more.")
    notes += [
        f"{name} is void by its own control." for name, r in zip(names, (baseline, candidate), strict=True) if r.is_void
    ]
    return GateResult(
        baseline=names[0],
        candidate=names[1],
        limit=limit,
        findings=findings,
        verdict=overall(findings),
        seconds=0.0,
        notes=notes,
    )


def _finding(
    metric: str,
    figures: Callable[[SystemResult], list[float]],
    before: SystemResult,
    after: SystemResult,
    limit: float,
    confidence: float,
) -> Finding:
    old, new = np.log(figures(before)), np.log(figures(after))
    slowdown = _welch(old, new, confidence)
    return Finding(metric=metric, slowdown=slowdown, verdict=verdict_of(slowdown, limit))


def _welch(old: NDArray[np.float64], new: NDArray[np.float64], confidence: float) -> Ratio:
    """How many times as large `new` is as `old`, both logarithms, one a block."""
    value, pairs = float(np.exp(new.mean() - old.mean())), min(len(old), len(new))
    if pairs < 2:
        return Ratio(value=value, low=None, high=None, pairs=pairs)
    if np.ptp(old) == np.ptp(new) == 0:
        return Ratio(value=value, low=value, high=value, pairs=pairs)
    low, high = stats.ttest_ind(new, old, equal_var=False).confidence_interval(confidence)
    return Ratio(value=value, low=float(np.exp(low)), high=float(np.exp(high)), pairs=pairs)
