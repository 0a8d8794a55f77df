"""How often do the benchmark's verdicts go wrong by chance alone?

    python examples/simulate_verdicts.py [RUNS]

Draws made-up figures and gives them to the very functions that judge real ones: how often an interval holds the
truth, how often an A/A control calls a sound run void, and how often the gate raises an alarm or lets a slowdown pass.
No system is measured, so it takes seconds and prints the same on every machine.

The noise of a block is normal, or Student's with 3 degrees of freedom (now and then something else used the machine);
the two metrics are drawn apart, which is the worst case. What a process has by chance for as long as it lives, as where
its memory came to lie, is a part of the noise where each block starts it afresh, and a constant where one process runs
all blocks.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from onnxpress_bench.gate.decision import Verdict, look, overall
from onnxpress_bench.statistics import LEAST_PAIRS, log_ratio_interval, mean_ratio, shared_confidence

METRICS = ("throughput", "single request")
BLOCK = 0.02  # standard deviation of a block's ratio
PROCESS = 0.02  # of what a pair of processes has by chance
REPETITIONS = 40  # what the gate's 170 s hold here


def noise(generator: np.random.Generator, count: int, *, heavy: bool = False) -> NDArray[np.float64]:
    """Logarithms of ratios of equals, one a block, of standard deviation `BLOCK`."""
    drawn = generator.standard_t(3, count) / np.sqrt(3) if heavy else generator.standard_normal(count)
    return BLOCK * np.asarray(drawn, dtype=np.float64)


def coverage(blocks: int, runs: int, *, heavy: bool = False) -> float:
    """The share of 95 % intervals of `blocks` blocks that hold the truth."""
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(runs):
        found = log_ratio_interval(noise(generator, blocks, heavy=heavy))
        held += found is not None and found[0] <= 0 <= found[1]
    return held / runs


def void_rate(blocks: int, runs: int, *, restarted: bool = True, heavy: bool = False) -> float:
    """The share of A/A controls of a sound machine that call the run void."""
    generator = np.random.default_rng(2)
    confidence = shared_confidence(0.95, len(METRICS))
    void = 0
    for _ in range(runs):
        ratios = []
        for _ in METRICS:
            process = PROCESS * generator.standard_normal(blocks if restarted else 1)
            ratios.append(mean_ratio(noise(generator, blocks, heavy=heavy) + process, confidence))
        void += any(ratio.excludes_one for ratio in ratios)
    return void / runs


def verdicts(slowdown: float, limit: float, runs: int, *, repetitions: int = REPETITIONS) -> dict[Verdict, float]:
    """The share of each of the gate's verdicts when both metrics truly take `slowdown` times as long."""
    generator = np.random.default_rng(3)
    found: Counter[Verdict] = Counter()
    spread = np.hypot(BLOCK, PROCESS)
    for _ in range(runs):
        logs = {name: np.log(slowdown) + spread * generator.standard_normal(repetitions) for name in METRICS}
        for count in range(1, repetitions + 1):
            seen = {name: values[:count].tolist() for name, values in logs.items()}
            findings = look(seen, limit, is_last=count == repetitions)
            if findings is not None and (count == repetitions or overall(findings) != "inconclusive"):
                found[overall(findings)] += 1
                break
    return {verdict: count / runs for verdict, count in found.items()}


def main() -> None:
    """Print every rate."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000
    for blocks in (2, 3, 5, LEAST_PAIRS, 20):
        heavy = coverage(blocks, runs, heavy=True)
        print(
            f"95 % intervals of {blocks} blocks hold the truth: {coverage(blocks, runs):.1%}; heavy tails {heavy:.1%}"
        )
    rate, heavy = void_rate(LEAST_PAIRS, runs), void_rate(LEAST_PAIRS, runs, heavy=True)
    print(f"A/A of {LEAST_PAIRS} blocks, processes started in each: void {rate:.1%}; heavy tails {heavy:.1%}")
    print(f"A/A of {LEAST_PAIRS} blocks, one process for all: void {void_rate(LEAST_PAIRS, runs, restarted=False):.1%}")
    for slowdown in (1.0, 1.05, 1.08):
        rates = verdicts(slowdown, 1.05, max(1, runs // 4))
        shown = ", ".join(
            f"{verdict} {rates.get(verdict, 0):.1%}" for verdict in ("regression", "pass", "inconclusive")
        )
        print(f"gate, limit 1.05, truly {slowdown:.2f} times as long: {shown}")


if __name__ == "__main__":
    main()
