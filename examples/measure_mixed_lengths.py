"""One long text in twenty, in a service and one by one: python examples/measure_mixed_lengths.py ARTIFACT [PRECISION].

Prints texts answered a second and the peak memory, each in a process of its own, for short texts alone and with one
text in 20 of 400 words. Batches are worth it while the service is the faster of the two.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import sys
from time import perf_counter

import onnxpress

WORDS = "a an and as at bad best but by film fine for fun good great has in is it just like long more not of on".split()
TEXTS, SHORT, LONG, EVERY = 400, (3, 12), 400, 20
ROUNDS = 3


def texts(every: int | None) -> list[str]:
    """Seeded texts of 3 to 12 words, each one in `every` of 400."""
    draw = random.Random(5)
    sizes = [LONG if every and not place % every else draw.randint(*SHORT) for place in range(TEXTS)]
    return [" ".join(draw.choices(WORDS, k=size)) for size in sizes]


def measure(artifact: str, precision: str, every: int | None, served: bool) -> tuple[float, float]:
    """Texts a second, the best of some rounds, and the peak in MiB."""
    asked, best = texts(every), 0.0
    with onnxpress.load(artifact, precision=precision, spinning=False) as classifier:
        with onnxpress.ThreadedClassifier(classifier) as service:
            for _ in range(ROUNDS):
                begin = perf_counter()
                if served:
                    for future in [service.submit(text) for text in asked]:
                        future.result()
                else:
                    for text in asked:
                        classifier(text)
                best = max(best, TEXTS / (perf_counter() - begin))
    return best, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(artifact: str, precision: str) -> None:
    """Print a line for each of the four."""
    for every in (None, EVERY):
        for served in (False, True):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rate, peak = pool.apply(measure, (artifact, precision, every, served))
            name = "short texts" if every is None else f"1 in {every} of {LONG} words"
            print(f"{name}, {'in a service' if served else 'one by one'}: {rate:,.0f} texts/s, peak {peak:,.0f} MiB")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "auto")
