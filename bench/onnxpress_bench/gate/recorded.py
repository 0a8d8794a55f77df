"""Two recorded results compared: less power than measuring now, since nothing is paired."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy import stats

from onnxpress.errors import ConfigError
from onnxpress_bench.compare import METRICS, SINGLE, THROUGHPUT
from onnxpress_bench.gate.decision import Finding, GateResult, overall, verdict_of
from onnxpress_bench.result import BenchResult, SystemResult
from onnxpress_bench.statistics import Ratio

__all__ = ["compare_recorded"]

_METRICS: Final = (THROUGHPUT, SINGLE)


def compare_recorded(
    baseline: BenchResult, candidate: BenchResult, *, names: tuple[str, str], limit: float
) -> GateResult:
    """Every engine system that both results hold, by Welch's interval of the difference of mean logarithms.

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
    findings = [
        _finding(f"{name}: {metric}", METRICS[metric].figures, before[name], after[name], limit)
        for name in shared
        for metric in _METRICS
    ]
    notes = [
        "From recorded results: the two were not measured side by side, so that anything else that changed counts."
    ]
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
    metric: str, figures: Callable[[SystemResult], list[float]], before: SystemResult, after: SystemResult, limit: float
) -> Finding:
    old, new = np.log(figures(before)), np.log(figures(after))
    middle = float(new.mean() - old.mean())
    if min(len(old), len(new)) < 2:
        slowdown = Ratio(value=float(np.exp(middle)), low=0.0, high=float("inf"), pairs=1)
    elif np.ptp(old) == np.ptp(new) == 0:
        slowdown = Ratio(
            value=float(np.exp(middle)), low=float(np.exp(middle)), high=float(np.exp(middle)), pairs=len(new)
        )
    else:
        low, high = stats.ttest_ind(new, old, equal_var=False).confidence_interval(0.95)
        slowdown = Ratio(
            value=float(np.exp(middle)), low=float(np.exp(low)), high=float(np.exp(high)), pairs=min(len(old), len(new))
        )
    return Finding(metric=metric, slowdown=slowdown, verdict=verdict_of(slowdown, limit))
