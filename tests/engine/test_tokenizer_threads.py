"""`threads` and `affinity` hold for tokenization too; the tokenizers library's own pool is not used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

import onnxpress
from onnxpress.inputs.encoder import Encoder, slices_of
from tests.conftest import WORDS, make_tokenizer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Every thread of the process but those that were there before the load, and the CPUs that each may use.
SCRIPT = """
import json, os, random, sys
import numpy  # has threads of its own
import onnxpress

asked = json.loads(sys.argv[1])
threads = lambda: {int(name) for name in os.listdir("/proc/self/task")}
draw = random.Random(1)
texts = [" ".join(draw.choices(asked["words"], k=20)) for _ in range(2000)]
before = threads()
with onnxpress.load(asked["artifact"], **asked["settings"]) as classifier:
    classifier.count_tokens(texts)
    for method in (classifier.logits, lambda t: list(classifier.stream(t)), classifier.rejected, classifier.encode):
        method(texts)
    new = threads() - before
    print(json.dumps([sorted(os.sched_getaffinity(thread)) for thread in new]))
"""


def threads_of(artifact: Path, **settings: object) -> list[list[int]]:
    """The CPUs of each thread that loading and classifying starts."""
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    asked = json.dumps({"artifact": str(artifact), "settings": settings, "words": WORDS})
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, asked], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found: list[list[int]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("optimize_for", ["latency", "throughput"])
def test_one_thread_starts_no_other(artifact: Path, optimize_for: str) -> None:
    assert threads_of(artifact, threads=1, optimize_for=optimize_for) == []


@pytest.mark.parametrize("optimize_for", ["latency", "throughput"])
def test_no_more_threads_tokenize_than_may(artifact: Path, optimize_for: str) -> None:
    # with "latency" two tokenize, while the caller waits, and one runs beside the caller
    assert len(threads_of(artifact, threads=2, optimize_for=optimize_for)) <= (3 if optimize_for == "latency" else 2)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
@pytest.mark.parametrize("optimize_for", ["latency", "throughput"])
def test_every_thread_stays_on_the_cpus_named(artifact: Path, optimize_for: str) -> None:
    cpus = sorted(os.sched_getaffinity(0))[:2]
    found = threads_of(artifact, threads=2, optimize_for=optimize_for, affinity=cpus)
    assert found and all(len(allowed) == 1 and set(allowed) <= set(cpus) for allowed in found)


@pytest.mark.parametrize("parallelism", ["true", "false", ""])
def test_the_librarys_setting_changes_no_token(
    texts: list[str], monkeypatch: pytest.MonkeyPatch, parallelism: str
) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", parallelism)
    tokenizer = Tokenizer.from_str(make_tokenizer().backend_tokenizer.to_str())
    encoder = Encoder(tokenizer, max_length=12, truncation_side="right", max_characters=10_000)
    sizes: list[int] = []

    class Counting:
        def encode_batch_fast(self, batch: list[object]) -> object:
            sizes.append(len(batch))
            return tokenizer.encode_batch_fast(batch)

    encoder._tokenizer = Counting()  # type: ignore[assignment]
    found = encoder.encode(texts)
    assert max(sizes) == (1 if parallelism == "true" else 32)
    wanted = [tokenizer.encode(text).ids for text in texts]
    assert [row.ids.tolist() for row in found.encodings] == wanted


@pytest.mark.parametrize("optimize_for", ["latency", "throughput"])
def test_several_threads_give_the_tokens_of_one_in_order(artifact: Path, texts: list[str], optimize_for: str) -> None:
    with (
        onnxpress.load(artifact, threads=1) as one,
        onnxpress.load(artifact, threads=3, optimize_for=optimize_for) as several,  # type: ignore[arg-type]
    ):
        wanted, found = one.encode(texts * 3), several.encode(texts * 3)
        assert np.array_equal(found.lengths, wanted.lengths)
        assert all(np.array_equal(a.ids, b.ids) for a, b in zip(found.encodings, wanted.encodings, strict=True))


def test_slices_are_bounded_by_texts_and_by_characters() -> None:
    texts = ["a" * 3, "b" * 3, ("c" * 2, "d" * 2), "e" * 50, "", "", ""]
    assert list(slices_of(texts, most=10, characters=7)) == [(0, 2), (2, 3), (3, 4), (4, 7)]
    assert list(slices_of(texts, most=2, characters=100)) == [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert list(slices_of([], most=2, characters=2)) == []
