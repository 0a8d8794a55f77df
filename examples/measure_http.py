"""What HTTP adds to a service: python examples/measure_http.py ARTIFACT TEXTS [PRECISION [SECONDS]].

Starts `onnxpress serve` in a process of its own and puts the same loads on it, by keep-alive connections, and on an
AsyncClassifier in this process, in turns: single requests, then as many callers as the queue has room for, each
of which waits for its answer and asks again, then requests that arrive at random at 70 % and 150 % of that, answered or
not. Latency counts from the moment that a request was due. The load runs on the same machine as the server, so
both sides pay for it: the service its caller, the server its client.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from urllib.parse import urlsplit

import onnxpress
from onnxpress.examples import read_texts

CALLERS = 256
SINGLES = 300
ROUNDS = 3
REFUSED = 429

Ask = Callable[[str], Awaitable[int]]
"""Asks about a text, and gives the status: 200 where it was answered, 429 where it was refused."""


def main(artifact: str, texts: list[str], precision: str, seconds: float) -> None:
    """Print a line for each load and side, and what HTTP costs."""
    found: dict[str, list[tuple[float, float]]] = {"service": [], "http": []}
    for round_ in range(ROUNDS):
        for name, opened in (("service", in_process), ("http", over_http)):
            single, capacity = asyncio.run(measure(opened(artifact, precision), texts, seconds, f"{round_ + 1} {name}"))
            found[name].append((single, capacity))
    pairs = list(zip(found["service"], found["http"], strict=True))
    print(f"throughput over HTTP: {median(http[1] / own[1] for own, http in pairs):.1%} of the service's")
    print(f"a single request: {median(http[0] - own[0] for own, http in pairs):+.2f} ms by HTTP, p50")


async def measure(
    opened: AbstractAsyncContextManager[Ask], texts: list[str], seconds: float, name: str
) -> tuple[float, float]:
    """Milliseconds of a single request (p50), and texts a second of many callers."""
    async with opened as ask:
        generator = random.Random(1)
        singles = []
        for text in generator.choices(texts, k=SINGLES):
            begin = perf_counter()
            await ask(text)
            singles.append((perf_counter() - begin) * 1e3)
        single = median(singles[SINGLES // 6 :])
        capacity = await saturate(ask, texts, seconds)
        print(f"{name}: single request {single:.2f} ms, capacity {capacity:,.0f} texts/s")
        for share in (0.7, 1.5):
            print(f"{name}, {share:.0%} of it: {await load(ask, texts, share * capacity, seconds)}")
    return single, capacity


async def saturate(ask: Ask, texts: list[str], seconds: float) -> float:
    """Texts answered a second while all callers ask without a pause."""
    ends, answered, generator = perf_counter() + seconds, 0, random.Random(2)

    async def caller() -> None:
        nonlocal answered
        while perf_counter() < ends:
            status = await ask(generator.choice(texts))
            answered += status == 200  # not in one statement, which would read `answered` before it waits

    begin = perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return answered / (perf_counter() - begin)


async def load(ask: Ask, texts: list[str], rate: float, seconds: float) -> str:
    """Send `rate` requests a second, at random moments, and say how they fared."""
    generator, latencies, ends, tasks = random.Random(3), list[float](), Counter[int](), set[asyncio.Task[None]]()

    async def request(due: float) -> None:
        status = await ask(generator.choice(texts))
        ends[status] += 1
        if status == 200:
            latencies.append((perf_counter() - due) * 1e3)

    begin = due = perf_counter()
    while due < begin + seconds:
        due += generator.expovariate(rate)
        await asyncio.sleep(max(0.0, due - perf_counter()))
        tasks.add(asyncio.create_task(request(due)))
    await asyncio.gather(*tasks)
    took, ordered = perf_counter() - begin, sorted(latencies)
    other = len(tasks) - ends[200] - ends[REFUSED]
    return (
        f"p50 {ordered[len(ordered) // 2]:.2f} ms, p99 {ordered[int(len(ordered) * 0.99)]:.2f} ms; answered "
        f"{ends[200] / took:,.0f}/s, refused {ends[REFUSED]:,} of {len(tasks):,}, lost {other}"
    )


@asynccontextmanager
async def in_process(artifact: str, precision: str) -> AsyncIterator[Ask]:
    """An AsyncClassifier with the server's settings."""
    classifier = onnxpress.load(artifact, precision=precision, optimize_for="throughput", spinning=False)
    with classifier:
        async with onnxpress.AsyncClassifier(classifier, max_requests=CALLERS) as service:

            async def ask(text: str) -> int:
                try:
                    await service.classify(text)
                except onnxpress.OverloadedError:
                    return REFUSED
                return 200

            yield ask


@asynccontextmanager
async def over_http(artifact: str, precision: str) -> AsyncIterator[Ask]:
    """A server in a process of its own, and connections to it that are kept."""
    options = ["--port", "0", "--precision", precision, "--max-requests", str(CALLERS), "--max-texts", "1"]
    command = [sys.executable, "-m", "onnxpress", "serve", f"it={artifact}", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            address = urlsplit(process.stderr.readline().split()[-1])
            assert address.hostname and address.port, "the server did not start"
            free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
            host, port = address.hostname, address.port

            async def connection() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
                while free:
                    reader, writer = free.pop()
                    if not reader.at_eof():  # the server closes what nobody uses
                        return reader, writer
                return await asyncio.open_connection(host, port)

            async def ask(text: str) -> int:
                body = json.dumps({"inputs": text}).encode()
                head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: "
                reader, writer = await connection()
                writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                free.append((reader, writer))
                return int(answer.split(None, 2)[1])

            yield ask
            for _, writer in free:
                writer.close()
        finally:
            process.terminate()


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4, 5):
        sys.exit(__doc__)
    given = [*sys.argv[3:], *("auto", "10")[len(sys.argv) - 3 :]]
    main(sys.argv[1], read_texts(Path(sys.argv[2])), given[0], float(given[1]))
