"""The process that a system under test lives in: one request a line on standard input, one reply a line back.

Between requests it waits for input, so that only the system whose turn it is uses the machine.
"""

from __future__ import annotations

import os
import sys
from time import perf_counter_ns

import msgspec

from onnxpress_bench.memory import peak_memory_bytes
from onnxpress_bench.system import Answers, System, SystemSpec, build

__all__ = ["Bulk", "Compare", "Memory", "Reply", "Request", "Single", "Start", "main"]


class Start(msgspec.Struct, frozen=True, tag=True):
    """Load the system and answer the first text."""

    spec: SystemSpec
    texts: list[str]


class Single(msgspec.Struct, frozen=True, tag=True):
    """Classify these texts, by index, one request after the other."""

    indices: list[int]


class Bulk(msgspec.Struct, frozen=True, tag=True):
    """Classify all texts at once."""


class Compare(msgspec.Struct, frozen=True, tag=True):
    """Give labels and logits of all texts; not timed."""


class Memory(msgspec.Struct, frozen=True, tag=True):
    """Give the peak memory of this process so far."""


Request = Start | Single | Bulk | Compare | Memory


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a request: the fields that it asked for, or why it failed."""

    nanoseconds: list[int] = []
    answers: Answers | None = None
    peak_memory_bytes: int = 0
    error: str = ""


def main() -> None:
    """Serve requests until standard input ends."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not mix with the replies
    system: System | None = None
    texts: list[str] = []
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line, type=Request)
        try:
            if isinstance(request, Start):
                system, texts = build(request.spec), request.texts
                system.classify(texts[0])
                reply = Reply()
            else:
                assert system is not None, "Start comes first"
                reply = _answer(request, system, texts)
        except Exception as error:  # whatever a system raises is the benchmark's result
            reply = Reply(error=f"{type(error).__name__}: {error}")
        replies.write(msgspec.json.encode(reply) + b"\n")
        replies.flush()


def _answer(request: Single | Bulk | Compare | Memory, system: System, texts: list[str]) -> Reply:
    if isinstance(request, Single):
        return Reply(nanoseconds=[_timed_single(system, texts[index]) for index in request.indices])
    if isinstance(request, Bulk):
        begin = perf_counter_ns()
        system.classify_all(texts)
        return Reply(nanoseconds=[perf_counter_ns() - begin])
    if isinstance(request, Compare):
        return Reply(answers=system.answers(texts))
    return Reply(peak_memory_bytes=peak_memory_bytes())


def _timed_single(system: System, text: str) -> int:
    begin = perf_counter_ns()
    system.classify(text)
    return perf_counter_ns() - begin


if __name__ == "__main__":
    main()
