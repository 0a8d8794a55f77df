"""Taking samples: systems in processes of their own, in blocks of turns, warmed, never two at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from onnxpress_bench.conditions import Watch, read_energy
from onnxpress_bench.load import Load, LoadSamples
from onnxpress_bench.peers import batch_sizes
from onnxpress_bench.process import Python, SystemFailedError, Worker
from onnxpress_bench.result import Skipped, SweepPoint
from onnxpress_bench.statistics import median
from onnxpress_bench.systems.spec import SystemSpec, Text
from onnxpress_bench.worker import Answer, Ask, Bulk, Describe, Reply, Single, Start, Sweep

__all__ = ["SampleSizes", "Sampled", "settle", "take_samples"]

_PAUSE_SECONDS: Final = 0.1  # until the threads of the system before have stopped spinning
_WARM_UP: Final = 40
_MOST_WARM_UPS: Final = 12
_SETTLED_WITHIN: Final = 0.05
_SEED: Final = 11


class SampleSizes(msgspec.Struct, frozen=True, kw_only=True):
    """How much to measure.

    Attributes:
        blocks: Of turns; in each every system has two, in an order that is read forwards, then backwards.
        requests: Single requests a turn.
        texts_per_query: Of the multi-stream scenario.
        loads: Shares of a system's own offline throughput at which requests arrive.
        cold_starts: Fresh processes a system.
        sweep_tokens: Lengths to sweep.
        sweep_batches: Batch sizes to sweep.
    """

    blocks: int = 6
    requests: int = 200
    texts_per_query: int = 8
    loads: tuple[float, ...] = (0.3, 0.5, 0.7, 0.9)
    cold_starts: int = 3
    sweep_tokens: tuple[int, ...] = (16, 64, 256)
    sweep_batches: tuple[int, ...] = (1, 8)


@dataclass
class Sampled:
    """What was measured of one system so far."""

    spec: SystemSpec
    settled: bool
    logits: np.ndarray
    labels: list[str]
    turns: dict[Load, list[LoadSamples]] = field(default_factory=dict)
    cold_start_ns: list[int] = field(default_factory=list)
    sweep: list[SweepPoint] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)
    described: Reply = field(default_factory=Reply)


def take_samples(
    systems: Sequence[tuple[SystemSpec, Python]],
    texts: Sequence[Text],
    sizes: SampleSizes,
    sweeps: Mapping[tuple[int, int], Sequence[Text]],
    *,
    on_step: Callable[[str], None] = lambda _: None,
    watch: Watch | None = None,
) -> tuple[list[Sampled], list[Skipped]]:
    """Measure `systems` on `texts`; peers that cannot be started, or fail later, are skipped, with the reason.

    Every system answers all texts once, which warms it, and then single ones until their latency has come to rest. Then
    come the blocks: in each, the systems take turns in random order and once more in the reverse order, so that what
    drifts in the machine falls on all alike; a turn is single requests, then all texts at once. Loads by arrival rate,
    many-text queries, requests without tokenization, sweeps and cold starts follow, system by system.

    Raises:
        ClockJumpError: As `watch` tells.
        SystemFailedError: The engine had started, and failed.
    """
    watch = watch or Watch()
    order = random.Random(_SEED)
    held: dict[str, Sampled] = {}
    skipped: list[Skipped] = []
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for spec, python in systems:
            on_step(f"warming {spec.name}")
            try:
                worker = Worker(spec.name, python, (spec, texts))
            except SystemFailedError as error:
                skipped.append(Skipped(name=spec.name, reason=error.reason))
                continue
            workers[spec.name] = stack.enter_context(worker)
            chosen = _choose_batch(worker, spec, texts)
            answered = worker.ask(Answer())
            held[spec.name] = Sampled(chosen, settle(worker, len(texts)), np.asarray(answered.logits), answered.labels)
        for block in range(sizes.blocks):
            names = order.sample(list(held), len(held))
            for turn, name in enumerate([*names, *reversed(names)]):
                if name not in held:  # failed in this block
                    continue
                with _kept(held, name, skipped) as sampled:
                    on_step(f"block {block + 1} of {sizes.blocks}: {name}")
                    _take_turn(workers[name], sampled, sizes, seed=1 + 2 * block + (turn >= len(names)))
                watch.check_clock()
        for name in order.sample(list(held), len(held)):
            with _kept(held, name, skipped) as sampled:
                on_step(f"loads and lengths: {name}")
                sampled.described = workers[name].ask(Describe())  # before longer texts, which take more memory
                _take_others(workers[name], sampled, len(texts), sizes, sweeps)
            watch.check_clock()
    pythons = {spec.name: python for spec, python in systems}
    for number in range(sizes.cold_starts):
        for name in order.sample(list(held), len(held)):
            with _kept(held, name, skipped) as sampled:
                on_step(f"cold start {number + 1} of {sizes.cold_starts}: {name}")
                begin = time.perf_counter_ns()
                with Worker(name, pythons[name], (sampled.spec, texts[:1])):
                    sampled.cold_start_ns.append(time.perf_counter_ns() - begin)
    return [held[spec.name] for spec, _ in systems if spec.name in held], skipped


def settle(worker: Worker, texts: int) -> bool:
    """Ask single texts until the median of some is within 5 % of that of those before; says whether it came to it."""
    before = float("inf")
    for chunk in range(_MOST_WARM_UPS):
        indices = [(chunk * _WARM_UP + offset) % texts for offset in range(_WARM_UP)]
        now = median(worker.ask(Single(indices)).nanoseconds)
        if abs(now / before - 1) <= _SETTLED_WITHIN:
            return True
        before = now
    return False


def _choose_batch(worker: Worker, spec: SystemSpec, texts: Sequence[Text]) -> SystemSpec:
    """`spec` with the batch size that answers all texts soonest, started so; the first run of each only warms."""
    indices, found = list(range(len(texts))), {}
    for size in batch_sizes(spec, len(texts)):
        trial = msgspec.structs.replace(spec, batch_size=size)
        worker.ask(Start(trial, list(texts)))
        worker.ask(Bulk(indices[: 4 * size]))
        found[size] = worker.ask(Bulk(indices)).nanoseconds[0]
    if not found:
        return spec
    best = msgspec.structs.replace(spec, batch_size=min(found, key=lambda size: found[size]))
    worker.ask(Start(best, list(texts)))
    return best


def _take_turn(worker: Worker, sampled: Sampled, sizes: SampleSizes, *, seed: int) -> None:
    for load in (Load(scenario="single-stream", queries=sizes.requests), Load(scenario="offline")):
        time.sleep(_PAUSE_SECONDS)
        with _energy(sampled.joules if load.scenario == "offline" else []):
            _measure(worker, sampled, load, seed)


def _take_others(
    worker: Worker,
    sampled: Sampled,
    texts: int,
    sizes: SampleSizes,
    sweeps: Mapping[tuple[int, int], Sequence[Text]],
) -> None:
    offline = sampled.turns[Load(scenario="offline")]
    capacity = texts / median([turn.seconds for turn in offline])
    loads = [
        Load(scenario="single-stream", queries=sizes.requests, tokenize=False),
        Load(scenario="multi-stream", queries=max(1, sizes.requests // 4), texts_per_query=sizes.texts_per_query),
        *(
            Load(scenario="server", queries=5 * sizes.requests, rate=round(share * capacity, 2))
            for share in sizes.loads
        ),
    ]
    for load in loads:
        time.sleep(_PAUSE_SECONDS)
        _measure(worker, sampled, load, seed=1)
    for (tokens, batch), rows in sweeps.items():
        took = worker.ask(Sweep(list(rows), repeats=5)).nanoseconds
        sampled.sweep.append(SweepPoint(tokens=tokens, batch=batch, nanoseconds=took))


def _measure(worker: Worker, sampled: Sampled, load: Load, seed: int) -> None:
    samples = worker.ask(Ask(msgspec.structs.replace(load, seed=seed))).samples
    if samples is not None:
        sampled.turns.setdefault(load, []).append(samples)


@contextmanager
def _kept(held: dict[str, Sampled], name: str, skipped: list[Skipped]) -> Iterator[Sampled]:
    """What was measured of `name`; when it fails and is a peer, it is dropped from `held` and skipped."""
    try:
        yield held[name]
    except SystemFailedError as error:
        if held[name].spec.kind == "engine":
            raise
        del held[name]
        skipped.append(Skipped(name=name, reason=error.reason))


@contextmanager
def _energy(joules: list[float]) -> Iterator[None]:
    before = read_energy()
    yield
    after = read_energy()
    if before is not None and after is not None and after >= before:
        joules.append(after - before)
