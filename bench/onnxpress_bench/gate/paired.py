"""Baseline and candidate measured now, in turns, in fresh processes again and again.

Two processes of the same program differ by some per cent for as long as they live: where their memory came to lie
decides. So processes, not requests, are what is repeated: each repetition starts both sides anew, and gives one
slowdown.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np

from onnxpress.answers.fidelity import Decision
from onnxpress.artifacts.artifact import open_artifact
from onnxpress_bench.agreement import align, changed_answers, compared_by
from onnxpress_bench.compare import SINGLE, THROUGHPUT
from onnxpress_bench.conditions import Watch
from onnxpress_bench.gate.decision import GateResult, look, overall
from onnxpress_bench.process import Python, Worker
from onnxpress_bench.statistics import LEAST_PAIRS, median
from onnxpress_bench.systems.spec import SystemSpec, Text
from onnxpress_bench.worker import Answer, Bulk, Single

__all__ = ["Side", "compare_now"]

_PAUSE_SECONDS: Final = 0.03
_BLOCKS: Final = 2
_REQUESTS: Final = 40
_BULK: Final = 160
_SEED: Final = 5

_SETTINGS: Final[dict[str, Literal["latency", "throughput"]]] = {
    SINGLE: "latency",
    THROUGHPUT: "throughput",
}


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact in an installed version of the engine.

    Attributes:
        name: As reports show it.
        artifact: Its directory.
        python: The interpreter of the environment that the engine is installed in.
    """

    name: str
    artifact: str
    python: Python

    def spec(self, optimize_for: Literal["latency", "throughput"], precision: str) -> SystemSpec:
        """The engine on this side, in one of its settings."""
        return SystemSpec(
            name=self.name, kind="engine", model=self.artifact, optimize_for=optimize_for, precision=precision
        )


def compare_now(
    baseline: Side,
    candidate: Side,
    texts: Sequence[Text],
    *,
    limit: float,
    seconds: float,
    precision: str = "auto",
    on_step: Callable[[str], None] = lambda _: None,
    watch: Watch | None = None,
) -> GateResult:
    """Measure until every metric is decided, or for `seconds`.

    A repetition starts both sides for single requests and both for many texts at once, warms them, and lets them take
    turns as A B B A, twice. `look` says when it is decided; fewer than 8 repetitions never decide.

    Raises:
        ClockJumpError: The machine slept meanwhile.
        SystemFailedError: A side cannot be started, or fails.
    """
    watch = watch or Watch()
    order = random.Random(_SEED)
    changed = _changed(baseline, candidate, texts, precision)
    logs: dict[str, list[float]] = {metric: [] for metric in _SETTINGS}
    began = longest = watch.check_clock()
    while True:
        for metric in _SETTINGS:
            logs[metric].append(_repeat(metric, (baseline, candidate), texts, precision, order))
        count = len(logs[THROUGHPUT])
        now = watch.check_clock()
        longest, began = max(longest, now - began), now
        is_over = now + longest > seconds
        findings = look(logs, limit, is_last=is_over)
        if findings is not None:
            on_step(f"{count} repetitions: " + ", ".join(f"{f.metric} {f.slowdown.value:.3f}×" for f in findings))
            if is_over or overall(findings) != "inconclusive":
                break
    notes = [f"{count} repetitions of fresh processes, paired."]
    if count < LEAST_PAIRS:
        notes.append(f"A verdict needs {LEAST_PAIRS}. Give it more --seconds, or fewer texts.")
    if changed:
        notes.append(changed)
    return GateResult(
        baseline=baseline.name,
        candidate=candidate.name,
        limit=limit,
        findings=findings,
        verdict=overall(findings),
        seconds=round(watch.conditions().seconds, 1),
        notes=notes,
    )


def _changed(baseline: Side, candidate: Side, texts: Sequence[Text], precision: str) -> str | None:
    """How many answers differ between the two, in words; None when none does."""
    replies = []
    for side in (baseline, candidate):
        with Worker(side.name, side.python, (side.spec("throughput", precision), texts)) as worker:
            replies.append(worker.ask(Answer()))
    manifest = open_artifact(Path(baseline.artifact)).manifest
    decision = Decision(manifest.activation, manifest.thresholds)
    old, new = (np.asarray(reply.logits, np.float32) for reply in replies)
    if sorted(replies[0].labels) != sorted(replies[1].labels):
        count = len(texts)
    else:
        new = align(new, replies[1].labels, replies[0].labels)
        variant = open_artifact(Path(candidate.artifact)).variant(precision)
        count = int(changed_answers(old, new, decision, precision=variant.precision).sum())
    compared = compared_by(decision, len(replies[0].labels))
    return f"{count:,} of {len(texts):,} {compared} differ between the two." if count else None


def _repeat(
    metric: str, sides: tuple[Side, Side], texts: Sequence[Text], precision: str, order: random.Random
) -> float:
    """The logarithm of how many times as long the candidate takes, in processes started for this."""
    with ExitStack() as stack:
        workers: list[Worker] = [None, None]  # type: ignore[list-item]  # filled below
        for index in order.sample((0, 1), 2):
            side = sides[index]
            started = Worker(side.name, side.python, (side.spec(_SETTINGS[metric], precision), texts))
            workers[index] = stack.enter_context(started)
            _turn(metric, started, _indices(len(texts), order))
        logs: list[list[float]] = [[], []]
        for _ in range(_BLOCKS):
            first = order.randrange(2)
            indices = _indices(len(texts), order)
            for index in (first, 1 - first, 1 - first, first):
                logs[index].append(float(np.log(_turn(metric, workers[index], indices))))
    return float(np.mean(logs[1]) - np.mean(logs[0]))


def _indices(texts: int, order: random.Random) -> list[int]:
    start = order.randrange(texts)
    return [(start + offset) % texts for offset in range(min(texts, _BULK))]


def _turn(metric: str, worker: Worker, indices: list[int]) -> float:
    """Nanoseconds: the median of single requests, or of all at once."""
    time.sleep(_PAUSE_SECONDS)
    request = Bulk(indices) if metric == THROUGHPUT else Single(indices[:_REQUESTS])
    return median(worker.ask(request).nanoseconds)
