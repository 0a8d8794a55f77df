"""Taking samples: systems in processes of their own, in turns, warmed, never two at once."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final

import msgspec
import numpy as np

from onnxpress.errors import CheckFailedError
from onnxpress_bench.result import Agreement, SystemResult
from onnxpress_bench.system import Answers, SystemSpec
from onnxpress_bench.worker import Bulk, Compare, Memory, Reply, Request, Single, Start

__all__ = ["SampleSizes", "SystemFailedError", "take_samples"]

_WARM_UP_REQUESTS: Final = 50
_SETTLE_SECONDS: Final = 0.2  # until the threads of the system before have stopped spinning
_SEED: Final = 11


class SampleSizes(msgspec.Struct, frozen=True, kw_only=True):
    """How much to measure.

    Attributes:
        rounds: Turns of each system; each round is one pair in every ratio.
        requests: Single requests a turn.
        cold_starts: Fresh processes a system.
    """

    rounds: int
    requests: int
    cold_starts: int


class SystemFailedError(CheckFailedError):
    """A system under test failed."""

    def __init__(self, system: str, reason: str) -> None:
        super().__init__(system, reason)
        self.system, self.reason = system, reason

    def __str__(self) -> str:
        return f"{self.system} failed: {self.reason}"


class _Worker:
    """A system in its process, started and warm once the constructor returns."""

    def __init__(self, spec: SystemSpec, texts: Sequence[str]) -> None:
        self._name = spec.name
        self._words = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "onnxpress_bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
        )
        try:
            self.ask(Start(spec, list(texts)))
        except BaseException:
            self._stop()
            raise

    def ask(self, request: Request) -> Reply:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(msgspec.json.encode(request) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its end shows in the reply
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise SystemFailedError(self._name, f"its process ended with status {status}{self._last_words()}")
        reply = msgspec.json.decode(line, type=Reply)
        if reply.error:
            raise SystemFailedError(self._name, reply.error)
        return reply

    def _last_words(self) -> str:
        self._words.seek(0)
        lines = self._words.read().decode("utf-8", "replace").strip().splitlines()
        return f" ({lines[-1]})." if lines else "."

    def _stop(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._words.close()

    def __enter__(self) -> _Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()


def take_samples(
    specs: Sequence[SystemSpec],
    texts: Sequence[str],
    sizes: SampleSizes,
    *,
    on_step: Callable[[str], None] = lambda _: None,
) -> list[SystemResult]:
    """Measure `specs` on `texts`; the last one's answers are the reference that the others' are compared with.

    Every process answers all texts once, which also warms it. Then, in each round, each system in random order
    serves single requests and all texts at once, the same texts for all. Cold starts come last, when every file
    is in memory. Raises SystemFailedError when a system fails.
    """
    order = random.Random(_SEED)
    single: dict[str, list[list[int]]] = {spec.name: [] for spec in specs}
    bulk: dict[str, list[int]] = {spec.name: [] for spec in specs}
    answers: dict[str, Answers] = {}
    with ExitStack() as stack:
        workers: dict[str, _Worker] = {}
        for spec in specs:
            on_step(f"warming {spec.name}")
            worker = workers[spec.name] = stack.enter_context(_Worker(spec, texts))
            answered = worker.ask(Compare()).answers
            assert answered is not None
            answers[spec.name] = answered
            worker.ask(Single([index % len(texts) for index in range(_WARM_UP_REQUESTS)]))
        for number in range(sizes.rounds):
            indices = [order.randrange(len(texts)) for _ in range(sizes.requests)]
            for spec in order.sample(list(specs), len(specs)):
                on_step(f"round {number + 1} of {sizes.rounds}: {spec.name}")
                time.sleep(_SETTLE_SECONDS)
                single[spec.name].append(workers[spec.name].ask(Single(indices)).nanoseconds)
                bulk[spec.name] += workers[spec.name].ask(Bulk()).nanoseconds
        memory = {name: worker.ask(Memory()).peak_memory_bytes for name, worker in workers.items()}
    cold = _cold_starts(specs, texts, sizes.cold_starts, order, on_step)
    reference = specs[-1].name
    return [
        SystemResult(
            spec=spec,
            cold_start_ns=cold[spec.name],
            single_ns=single[spec.name],
            bulk_ns=bulk[spec.name],
            peak_memory_bytes=memory[spec.name],
            agreement=_compare(answers[spec.name], answers[reference], reference),
        )
        for spec in specs
    ]


def _cold_starts(
    specs: Sequence[SystemSpec],
    texts: Sequence[str],
    count: int,
    order: random.Random,
    on_step: Callable[[str], None],
) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {spec.name: [] for spec in specs}
    for number in range(count):
        for spec in order.sample(list(specs), len(specs)):
            on_step(f"cold start {number + 1} of {count}: {spec.name}")
            begin = time.perf_counter_ns()
            with _Worker(spec, texts[:1]):
                found[spec.name].append(time.perf_counter_ns() - begin)
    return found


def _compare(found: Answers, wanted: Answers, reference: str) -> Agreement:
    difference = np.abs(np.asarray(found.logits) - np.asarray(wanted.logits)).max()
    return Agreement(
        reference=reference,
        texts=len(wanted.labels),
        equal_labels=sum(a == b for a, b in zip(found.labels, wanted.labels, strict=True)),
        max_logit_difference=float(difference),
    )
