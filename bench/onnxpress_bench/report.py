"""A result as tables."""

from __future__ import annotations

from itertools import chain

from rich.console import Group
from rich.table import Table

from onnxpress_bench.result import BenchResult, Comparison, SystemResult
from onnxpress_bench.statistics import Ratio, median, percentile

__all__ = ["render"]

_MEBIBYTE = 2**20


def render(result: BenchResult) -> Group:
    """The systems side by side, then the ratios."""
    machine = result.machine
    facts = f"{machine.cpu}, {machine.cpus} CPUs ({', '.join(machine.simd)}); " + ", ".join(
        f"{name} {found}" for name, found in machine.versions.items()
    )
    tables = [_systems(result)]
    if result.comparisons:
        tables.append(_ratios(result.comparisons))
    return Group(*tables, facts)


def _systems(result: BenchResult) -> Table:
    requests = sum(map(len, result.systems[0].single_ns))
    table = Table(
        title=f"{result.texts:,} texts, {len(result.systems[0].bulk_ns)} rounds in turns, "
        f"{requests:,} single requests a system",
        title_justify="left",
    )
    table.add_column("system")
    for name in (
        "texts/s",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "cold start s",
        "peak MiB",
        "equal labels",
        "logits within",
    ):
        table.add_column(name, justify="right")
    for system in result.systems:
        table.add_row(system.spec.name, *_figures(system, result.texts))
    return table


def _figures(system: SystemResult, texts: int) -> list[str]:
    agreement = system.agreement
    requests = list(chain.from_iterable(system.single_ns))
    return [
        f"{texts / median(system.bulk_ns) * 1e9:,.0f}",
        *(f"{percentile(requests, percent) / 1e6:.2f}" for percent in (50, 90, 99)),
        f"{median(system.cold_start_ns) / 1e9:.2f}",
        f"{system.peak_memory_bytes / _MEBIBYTE:,.0f}",
        f"{agreement.equal_labels / agreement.texts:.2%}",
        f"{agreement.max_logit_difference:.1e}",
    ]


def _ratios(comparisons: list[Comparison]) -> Table:
    table = Table(title="best engine setting against the best peer; above 1 the engine is better", title_justify="left")
    table.add_column("metric")
    table.add_column("ratio", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("systems")
    for comparison in comparisons:
        table.add_row(
            comparison.metric,
            f"{comparison.ratio.value:.2f}×",
            _interval(comparison.ratio),
            f"{comparison.system} / {comparison.peer}",
        )
    return table


def _interval(ratio: Ratio) -> str:
    return f"{ratio.low:.2f} … {ratio.high:.2f}" if ratio.pairs > 1 else "one figure each"
