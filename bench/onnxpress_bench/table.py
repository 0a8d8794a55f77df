"""A result as tables of words, for a terminal and for pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from onnxpress_bench.compare import COLD_START, SINGLE, THROUGHPUT
from onnxpress_bench.result import BenchResult, SystemResult
from onnxpress_bench.statistics import LEAST_PAIRS, Ratio, least_samples, median, percentile

__all__ = ["Grid", "grids_of", "render", "throughput", "words_of"]

_MEBIBYTE: Final = 2**20
_PERCENTS: Final = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: each row begins with the name of what it is about."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def grids_of(result: BenchResult) -> list[Grid]:
    """The systems side by side, then the ratios of each metric."""
    return [_systems(result), *_ratios(result)]


def render(result: BenchResult) -> Group:
    """Tables, and what is to be known of the run, for a terminal."""
    return Group(*map(_table, grids_of(result)), *map(Text, words_of(result)))  # brackets in them are no markup


def throughput(result: SystemResult, texts: int) -> float:
    """Texts a second in the offline scenario."""
    offline = result.of("offline")
    assert offline is not None
    return texts / median([turn.seconds for turn in offline.turns])


def words_of(result: BenchResult) -> list[str]:
    """One sentence for each thing to be known about the run."""
    machine, conditions = result.machine, result.conditions
    control = ", ".join(f"{found.metric} {_interval(found.ratio)}" for found in result.control)
    stolen = "" if conditions.stolen is None else f", {conditions.stolen:.1%} stolen"
    void = " VOID: the machine told a system from itself; measure again with more blocks." if result.is_void else ""
    if not result.is_judged:
        void = f" Too few blocks to judge by; {LEAST_PAIRS} are the least."
    facts = (
        f"{machine.cpu}, {machine.cpus} CPUs ({', '.join(machine.simd)}), governor {conditions.governor}, load "
        f"{conditions.load_before:.1f} before{stolen}; {result.gemm_flops / 1e9:.0f} GFLOP/s in large fp32 products; "
        f"{conditions.seconds / 60:.1f} minutes."
    )
    return [
        f"Engine beside itself (A/A): {control}.{void}",
        *(_flag(system) for system in result.systems if not system.agreement.is_kept),
        *(f"{system.spec.name} had not settled." for system in result.systems if not system.settled),
        *(f"SKIPPED {skipped.name}: {skipped.reason}" for skipped in result.skipped),
        *([] if conditions.joules is not None else ["This machine does not tell its energy."]),
        facts,
        ", ".join(f"{name} {version}" for name, version in machine.versions.items()) + ".",
        *(_versions(system, result) for system in result.systems if _others(system, result)),
    ]


def _flag(system: SystemResult) -> str:
    agreement = system.agreement
    return (
        f"FLAGGED {system.spec.name}: {agreement.texts - agreement.equal_labels:,} of {agreement.texts:,} "
        f"{agreement.compared} differ from {agreement.reference}'s; {agreement.may_change:.2%} may."
    )


def _others(system: SystemResult, result: BenchResult) -> dict[str, str]:
    """Versions that this system runs and the benchmark itself does not."""
    return {name: found for name, found in system.versions.items() if result.machine.versions.get(name) != found}


def _versions(system: SystemResult, result: BenchResult) -> str:
    found = _others(system, result)
    return f"{system.spec.name}: " + ", ".join(f"{name} {version}" for name, version in found.items()) + "."


def _systems(result: BenchResult) -> Grid:
    found = result.systems[0].of("single-stream")
    blocks, requests = (len(found.turns) // 2, len(found.latencies_ns())) if found else (0, 0)
    head = ["system", "texts/s", *(f"p{percent} ms" for percent in _PERCENTS), "cold start s", "peak MiB"]
    return Grid(
        f"{result.texts.count:,} texts, {blocks} blocks of two turns, {requests:,} single requests a system",
        [*head, f"equal {result.systems[0].agreement.compared}", "accuracy", "batch"],
        [[system.spec.name, *_figures(system, result.texts.count)] for system in result.systems],
    )


def _figures(system: SystemResult, texts: int) -> list[str]:
    agreement, single = system.agreement, system.of("single-stream")
    latencies = single.latencies_ns() if single else []
    return [
        f"{throughput(system, texts):,.0f}",
        *(_percentile(latencies, percent) for percent in _PERCENTS),
        f"{median(system.cold_start_ns) / 1e9:.2f}",
        f"{system.peak_memory_bytes / _MEBIBYTE:,.0f}",
        f"{agreement.equal_labels / agreement.texts:.2%}" + ("" if agreement.is_kept else " ⚠"),
        "–" if agreement.accuracy is None else f"{agreement.accuracy:.1%}",
        "–" if system.spec.batch_size is None else str(system.spec.batch_size),
    ]


def _ratios(result: BenchResult) -> list[Grid]:
    grids: list[Grid] = []
    for metric in (THROUGHPUT, SINGLE, COLD_START):
        found = [comparison for comparison in result.comparisons if comparison.metric == metric]
        systems = list(dict.fromkeys(comparison.system for comparison in found))
        ratios = {(comparison.peer, comparison.system): _interval(comparison.ratio) for comparison in found}
        rows = [[peer, *(ratios[peer, system] for system in systems)] for peer in dict.fromkeys(c.peer for c in found)]
        if rows:
            title = f"{metric}: the engine against each, 95 % intervals; above 1 the engine is better"
            grids.append(Grid(title, ["against", *systems], rows))
    return grids


def _percentile(samples: Sequence[int], percent: float) -> str:
    """A percentile in ms; a dash where too few samples lie beyond it to tell."""
    return f"{percentile(samples, percent) / 1e6:.2f}" if len(samples) >= least_samples(percent) else "–"


def _interval(ratio: Ratio) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.2f}×"
    return f"{ratio.value:.2f}× [{ratio.low:.2f}, {ratio.high:.2f}]"


def _table(grid: Grid) -> Table:
    table = Table(title=Text(grid.title), title_justify="left")
    for index, name in enumerate(grid.head):
        table.add_column(Text(name), justify="right" if index else "left")
    for row in grid.rows:
        table.add_row(*map(Text, row))
    return table
