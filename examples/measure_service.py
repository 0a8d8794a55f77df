"""Load an AsyncClassifier with Poisson arrivals: python examples/measure_service.py ARTIFACT TEXTS [PRECISION].

Measures the single request, then the capacity (every caller waits for its answer and asks again), then 70 % and 150 %
of it as requests that come whether or not there is an answer. Latency counts from the moment that a request was due.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from time import perf_counter

import onnxpress
from onnxpress.examples import read_texts

CALLERS = 256
SECONDS = 10.0


def main(artifact: str, texts: list[str], precision: str) -> None:
    """Print a line for each load."""
    with onnxpress.load(artifact, precision=precision) as classifier:
        single = quantiles([timed(classifier, text) for text in random.Random(1).choices(texts, k=600)][100:])
        print(f"single request: p50 {single[0]:.2f} ms, p99 {single[1]:.2f} ms")
        capacity = asyncio.run(saturate(classifier, texts))
        print(f"capacity: {capacity:,.0f} texts/s with {CALLERS} callers")
        for share in (0.7, 1.5):
            asyncio.run(load(classifier, texts, share * capacity, f"{share:.0%} of capacity", single[0]))


def timed(classifier: onnxpress.Classifier, text: str) -> float:
    """Milliseconds of one request."""
    begin = perf_counter()
    classifier(text)
    return (perf_counter() - begin) * 1e3


def quantiles(milliseconds: list[float]) -> tuple[float, float]:
    """p50 and p99."""
    ordered = sorted(milliseconds)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]


async def saturate(classifier: onnxpress.Classifier, texts: list[str]) -> float:
    """Texts answered a second while all callers ask without a pause."""
    ends, answered, generator = perf_counter() + SECONDS, 0, random.Random(2)

    async def caller(service: onnxpress.AsyncClassifier) -> None:
        nonlocal answered
        while perf_counter() < ends:
            await service.classify(generator.choice(texts))
            answered += 1

    async with onnxpress.AsyncClassifier(classifier) as service:
        begin = perf_counter()
        await asyncio.gather(*(caller(service) for _ in range(CALLERS)))
        return answered / (perf_counter() - begin)


async def load(classifier: onnxpress.Classifier, texts: list[str], rate: float, name: str, single_p50: float) -> None:
    """Send `rate` requests a second, at random moments, and print how they fared."""
    generator, latencies, refused, tasks = random.Random(3), list[float](), 0, set[asyncio.Task[None]]()

    async def request(service: onnxpress.AsyncClassifier, due: float) -> None:
        nonlocal refused
        try:
            await service.classify(generator.choice(texts))
            latencies.append((perf_counter() - due) * 1e3)
        except onnxpress.OverloadedError:
            refused += 1

    async with onnxpress.AsyncClassifier(classifier, max_requests=CALLERS) as service:
        begin = due = perf_counter()
        while due < begin + SECONDS:
            due += generator.expovariate(rate)
            await asyncio.sleep(max(0.0, due - perf_counter()))
            tasks.add(asyncio.create_task(request(service, due)))
        await asyncio.gather(*tasks)
        seconds, metrics = perf_counter() - begin, service.metrics()
    p50, p99 = quantiles(latencies)
    print(
        f"{name}, {rate:,.0f} texts/s: p50 {p50:.2f} ms, p99 {p99:.2f} ms ({p99 / single_p50:.1f} x a single p50); "
        f"answered {len(latencies) / seconds:,.0f}/s, refused {refused} of {len(tasks)}, "
        f"mean batch {metrics.batch_size.total / metrics.batch_size.count:.1f}; "
        f"lost {len(tasks) - refused - len(latencies)}"
    )


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(sys.argv[1], read_texts(Path(sys.argv[2])), sys.argv[3] if len(sys.argv) > 3 else "auto")
