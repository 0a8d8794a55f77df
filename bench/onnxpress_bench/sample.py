"""Taking samples: systems in fresh processes for every block of turns, warmed, never two at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from onnxpress_bench.agreement import fits
from onnxpress_bench.conditions import Watch, read_energy
from onnxpress_bench.load import Load, LoadSamples
from onnxpress_bench.peers import batch_sizes
from onnxpress_bench.process import Python, SystemFailedError, Worker
from onnxpress_bench.result import Skipped, SweepPoint
from onnxpress_bench.statistics import median
from onnxpress_bench.systems.spec import SystemSpec, Text
from onnxpress_bench.worker import Answer, Ask, Bulk, Describe, Single, Start, Sweep, Take

__all__ = ["SampleSizes", "Sampled", "settle", "take_samples"]

_PAUSE_SECONDS: Final = 0.1  # until the threads of the system before have stopped spinning
_WARM_UP: Final = 40
_MOST_WARM_UPS: Final = 12
_SETTLED_WITHIN: Final = 0.05
_TRIALS: Final = 2
_SEED: Final = 11


class SampleSizes(msgspec.Struct, frozen=True, kw_only=True):
    """How much to measure.

    Attributes:
        blocks: Of turns; in each every system has a fresh process and two turns, in an order that is read forwards,
            then backwards.
        requests: Single requests a turn.
        texts_per_query: Of the multi-stream scenario.
        loads: Shares of a system's own offline throughput at which requests arrive.
        cold_starts: Fresh processes a system that are timed to their first answer, at least: each block has one.
        sweep_tokens: Lengths to sweep.
        sweep_batches: Batch sizes to sweep.
    """

    blocks: int = 8
    requests: int = 200
    texts_per_query: int = 8
    loads: tuple[float, ...] = (0.3, 0.5, 0.7, 0.9)
    cold_starts: int = 8
    sweep_tokens: tuple[int, ...] = (16, 64, 256)
    sweep_batches: tuple[int, ...] = (1, 8)


@dataclass
class Sampled:
    """What was measured of one system so far."""

    spec: SystemSpec
    python: Python
    logits: NDArray[np.float32]
    labels: list[str]
    settled: bool = True
    turns: dict[Load, list[LoadSamples]] = field(default_factory=dict)
    cold_start_ns: list[int] = field(default_factory=list)
    sweep: list[SweepPoint] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)
    peak_memory_bytes: int = 0
    versions: dict[str, str] = field(default_factory=dict)


def take_samples(
    systems: Sequence[tuple[SystemSpec, Python]],
    texts: Sequence[Text],
    sizes: SampleSizes,
    sweeps: Mapping[tuple[int, int], Sequence[Text]],
    *,
    labels: Sequence[str] | None = None,
    on_step: Callable[[str], None] = lambda _: None,
    watch: Watch | None = None,
) -> tuple[list[Sampled], list[Skipped]]:
    """Measure `systems` on `texts`; peers that cannot be started, or fail later, are skipped, with the reason.

    First every system answers all texts once, and a peer chooses its batch size, in a process that is then ended. In
    each block, every system has a process of its own, started and warmed for it: what one process has by chance, as
    where its memory came to lie, counts as noise. The systems take turns in random order and once more in the reverse
    order, so that what drifts in the machine falls on all alike; a turn is single requests, then all texts at once.
    Loads by arrival rate, many-text queries, requests without tokenization and sweeps follow, system by system.

    Args:
        systems: What to measure, and the interpreter of each.
        texts: What is asked.
        sizes: How much.
        sweeps: Other texts, by length and batch size.
        labels: The model's, which each system's must fit; None takes any.
        on_step: Called with words on what is done.
        watch: Of the clock.

    Raises:
        ClockJumpError: As `watch` tells.
        SystemFailedError: The engine had started, and failed.
    """
    watch = watch or Watch()
    order = random.Random(_SEED)
    held, skipped = dict[str, Sampled](), list[Skipped]()
    for number, (spec, python) in enumerate(systems, 1):
        on_step(f"first answers of all, {number} of {len(systems)}: {spec.name}")
        try:
            held[spec.name] = _first_answers(spec, python, texts, labels)
        except SystemFailedError as error:
            skipped.append(Skipped(name=spec.name, reason=error.reason))
    for block in range(sizes.blocks):
        with _started_all(held, skipped, texts, order, on_step) as workers:
            _take_turns(held, skipped, workers, sizes, block, on_step)
            watch.check_clock()
            if block == sizes.blocks - 1:
                for number, name in enumerate(order.sample(list(held), len(held)), 1):
                    with _kept(held, name, skipped) as sampled:
                        on_step(f"loads and lengths, {number} of {len(held)}: {name}")
                        _take_others(workers[name], sampled, len(texts), sizes, sweeps)
                    watch.check_clock()
    for number in range(sizes.blocks, sizes.cold_starts):
        for name in order.sample(list(held), len(held)):
            with _kept(held, name, skipped) as sampled:
                on_step(f"cold start {number + 1} of {sizes.cold_starts}: {name}")
                _cold_start(sampled, texts).close()
    return [held[spec.name] for spec, _ in systems if spec.name in held], skipped


def _first_answers(spec: SystemSpec, python: Python, texts: Sequence[Text], labels: Sequence[str] | None) -> Sampled:
    with Worker(spec.name, python, (spec, texts)) as worker:
        chosen = _choose_batch(worker, spec, texts)
        answered = worker.ask(Answer())
    if labels is not None and not fits(answered.labels, labels):
        raise SystemFailedError(
            spec.name, f"it has {len(answered.labels)} labels, and the artifact {len(labels)}: another model."
        )
    return Sampled(chosen, python, np.asarray(answered.logits, np.float32), answered.labels)


@contextmanager
def _started_all(
    held: dict[str, Sampled],
    skipped: list[Skipped],
    texts: Sequence[Text],
    order: random.Random,
    on_step: Callable[[str], None],
) -> Iterator[dict[str, Worker]]:
    """A warm process of each system, by name, in the random order in which they were started."""
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for number, name in enumerate(order.sample(list(held), len(held)), 1):
            with _kept(held, name, skipped) as sampled:
                on_step(f"starting, {number} of {len(held)}: {name}")
                workers[name] = stack.enter_context(_cold_start(sampled, texts))
                sampled.settled &= _warm(workers[name], texts)
        yield workers


def _take_turns(
    held: dict[str, Sampled],
    skipped: list[Skipped],
    workers: Mapping[str, Worker],
    sizes: SampleSizes,
    block: int,
    on_step: Callable[[str], None],
) -> None:
    """Let each system have two turns, the second ones in the reverse order of the first, and look at its memory."""
    names = list(workers)
    for turn, name in enumerate([*names, *reversed(names)]):
        if name not in held:  # failed in this block
            continue
        with _kept(held, name, skipped) as sampled:
            on_step(f"turn {2 * block * len(names) + turn + 1} of {2 * sizes.blocks * len(names)}: {name}")
            _take_turn(workers[name], sampled, sizes, seed=1 + 2 * block + (turn >= len(names)))
    for name in [name for name in names if name in held]:
        with _kept(held, name, skipped) as sampled:
            described = workers[name].ask(Describe())
            sampled.peak_memory_bytes = max(sampled.peak_memory_bytes, described.peak_memory_bytes)
            sampled.versions = described.versions


def _cold_start(sampled: Sampled, texts: Sequence[Text]) -> Worker:
    """A process of the system that has given its first answer, which is timed."""
    begin = time.perf_counter_ns()
    worker = Worker(sampled.spec.name, sampled.python, (sampled.spec, texts[:1]))
    sampled.cold_start_ns.append(time.perf_counter_ns() - begin)
    return worker


def _warm(worker: Worker, texts: Sequence[Text]) -> bool:
    """Let it answer all texts once, then single ones until they take no less time; says whether it came to it."""
    worker.ask(Take(list(texts)))
    worker.ask(Bulk(list(range(len(texts)))))
    return settle(worker, len(texts))


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
        found[size] = min(worker.ask(Bulk(indices)).nanoseconds[0] for _ in range(_TRIALS))
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
