"""The process that a system under test lives in: one request a line on standard input, one reply a line back.

Between requests it waits for input, so that only the system whose turn it is uses the machine. It may run in another
environment than the one that asks, so it imports no more than the modules in `systems/` do.
"""

from __future__ import annotations

import os
import sys
from time import perf_counter_ns

import msgspec

from onnxpress_bench.load import Load, LoadSamples, generate_load
from onnxpress_bench.memory import peak_memory_bytes
from onnxpress_bench.systems.build import build, prepare
from onnxpress_bench.systems.spec import System, SystemSpec, Text

__all__ = [
    "Answer",
    "Ask",
    "Bulk",
    "Describe",
    "Gemm",
    "Prepare",
    "Reply",
    "Request",
    "Single",
    "Start",
    "Sweep",
    "Take",
    "main",
]


class Prepare(msgspec.Struct, frozen=True, tag=True):
    """Make the files that the system needs."""

    spec: SystemSpec
    texts: list[Text]
    extensions: list[str]


class Start(msgspec.Struct, frozen=True, tag=True):
    """Load the system and answer the first text."""

    spec: SystemSpec
    texts: list[Text]


class Take(msgspec.Struct, frozen=True, tag=True):
    """Ask these texts from now on, of the system as it is loaded."""

    texts: list[Text]


class Single(msgspec.Struct, frozen=True, tag=True):
    """Classify these texts, by index, one request after the other, in a plain loop."""

    indices: list[int]


class Bulk(msgspec.Struct, frozen=True, tag=True):
    """Classify these texts, by index, at once."""

    indices: list[int]


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Let the load generator ask."""

    load: Load


class Answer(msgspec.Struct, frozen=True, tag=True):
    """Give the logits of all texts; not timed."""


class Sweep(msgspec.Struct, frozen=True, tag=True):
    """Classify all of these other texts at once, `repeats` times; without what the first time costs."""

    texts: list[Text]
    repeats: int


class Describe(msgspec.Struct, frozen=True, tag=True):
    """Give the peak memory of this process so far, and the versions of what it runs."""


class Gemm(msgspec.Struct, frozen=True, tag=True):
    """Measure this machine's large fp32 products; needs no system."""


Request = Prepare | Start | Take | Single | Bulk | Ask | Answer | Sweep | Describe | Gemm


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a request: the fields that it asked for, or why it failed."""

    nanoseconds: list[int] = []
    samples: LoadSamples | None = None
    labels: list[str] = []
    logits: list[list[float]] = []
    peak_memory_bytes: int = 0
    versions: dict[str, str] = {}
    flops_per_second: float = 0.0
    error: str = ""


_PACKAGES = (
    "onnxpress",
    "onnxruntime",
    "torch",
    "transformers",
    "optimum",
    "optimum-onnx",
    "openvino",
    "nncf",
    "sentence-transformers",
    "tokenizers",
)


def main() -> None:
    """Serve requests until standard input ends."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not mix with the replies
    system: System | None = None
    texts: list[Text] = []
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line, type=Request)
        try:
            if isinstance(request, Start):
                system, texts = build(request.spec), request.texts
                system.logits(texts[:1])
                reply = Reply(labels=list(system.labels))
            elif isinstance(request, Take):
                texts, reply = request.texts, Reply()
            elif isinstance(request, Prepare):
                prepare(request.spec, request.texts, request.extensions)
                reply = Reply()
            elif isinstance(request, Gemm):
                reply = Reply(flops_per_second=_gemm_rate())
            else:
                assert system is not None, "Start comes first"
                reply = _answer(request, system, texts)
        except Exception as error:  # whatever a system raises is the benchmark's result
            reply = Reply(error=" ".join(f"{type(error).__name__}: {error}".split())[:500])
        replies.write(msgspec.json.encode(reply) + b"\n")
        replies.flush()


def _answer(request: Single | Bulk | Ask | Answer | Sweep | Describe, system: System, texts: list[Text]) -> Reply:
    if isinstance(request, Single):
        return Reply(nanoseconds=[_timed(system, [texts[index]]) for index in request.indices])
    if isinstance(request, Bulk):
        return Reply(nanoseconds=[_timed(system, [texts[index] for index in request.indices])])
    if isinstance(request, Ask):
        if not request.load.tokenize and system.encode(texts[:1]) is None:
            return Reply()
        return Reply(samples=generate_load(system, texts, request.load))
    if isinstance(request, Answer):
        return Reply(labels=list(system.labels), logits=system.logits(texts).tolist())
    if isinstance(request, Sweep):
        _timed(system, request.texts)
        return Reply(nanoseconds=[_timed(system, request.texts) for _ in range(request.repeats)])
    return Reply(peak_memory_bytes=peak_memory_bytes(), versions=_versions())


def _timed(system: System, texts: list[Text]) -> int:
    begin = perf_counter_ns()
    system.logits(texts)
    return perf_counter_ns() - begin


def _versions() -> dict[str, str]:
    from importlib.metadata import distributions

    held = {found.metadata["Name"]: found.version for found in distributions()}
    return {name: held[name] for name in _PACKAGES if name in held}


def _gemm_rate() -> float:
    """Floating-point operations a second of numpy's product of two large fp32 matrices, the best of some."""
    import numpy as np

    size = 1_536
    left, right = np.ones((size, size), np.float32), np.ones((size, size), np.float32)
    best = float("inf")
    for _ in range(12):
        begin = perf_counter_ns()
        left @ right
        best = min(best, perf_counter_ns() - begin)
    return 2 * size**3 / (best / 1e9)


if __name__ == "__main__":
    main()
