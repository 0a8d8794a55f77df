"""The load generator: what it asks, from when it counts, and that a failure ends it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxpress
from onnxpress_bench.load import Load, generate_load
from onnxpress_bench.systems.batches import BatchedSystem, BatchServing, batches_by_length
from onnxpress_bench.systems.build import build
from onnxpress_bench.systems.spec import SystemSpec, Text

TEXTS: list[Text] = [f"text {number}" for number in range(20)]
PAUSE = 0.002


class Sleepy:
    """Takes a fixed time a call, one call at a time."""

    labels = ("a", "b")

    def __init__(self, pause: float = PAUSE) -> None:
        self.asked: list[list[Text]] = []
        self._pause = pause

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        self.asked.append(list(texts))
        time.sleep(self._pause)
        return np.zeros((len(texts), 2), np.float32)

    def encode(self, texts: Sequence[Text]) -> Any:
        return list(texts)

    def run(self, encoded: Any) -> None:
        self.asked.append(["run", *encoded])

    def serve(self) -> BatchServing:
        return BatchServing(self.logits, 4)


def test_single_stream_asks_one_text_after_the_other() -> None:
    system = Sleepy()
    found = generate_load(system, TEXTS, Load(scenario="single-stream", queries=15))
    assert [len(texts) for texts in system.asked] == [1] * 15
    assert len(found.latencies_ns) == found.texts == 15
    assert min(found.latencies_ns) >= PAUSE * 1e9 and found.seconds >= 15 * PAUSE


def test_the_same_seed_asks_the_same_texts() -> None:
    asked = []
    for seed in (3, 3, 4):
        system = Sleepy(0)
        generate_load(system, TEXTS, Load(scenario="single-stream", queries=30, seed=seed))
        asked.append(system.asked)
    assert asked[0] == asked[1] != asked[2]


def test_without_tokenization_only_the_model_runs() -> None:
    system = Sleepy()
    generate_load(system, TEXTS, Load(scenario="single-stream", queries=5, tokenize=False))
    assert [texts[0] for texts in system.asked] == ["run"] * 5


def test_multi_stream_asks_some_at_once() -> None:
    system = Sleepy()
    found = generate_load(system, TEXTS, Load(scenario="multi-stream", queries=5, texts_per_query=4))
    assert [len(texts) for texts in system.asked] == [4] * 5
    assert len(found.latencies_ns) == 5 and found.texts == 20


def test_offline_asks_every_text_once_at_once() -> None:
    system = Sleepy()
    found = generate_load(system, TEXTS, Load(scenario="offline"))
    assert [sorted(map(str, texts)) for texts in system.asked] == [sorted(map(str, TEXTS))]
    assert len(found.latencies_ns) == 1 and found.texts == 20


def test_a_stall_counts_for_all_that_were_due_meanwhile() -> None:
    """80 arrivals at 1,000 a second, each batch of at most 4 takes 20 ms: most of them wait for others."""
    system = Sleepy(0.02)
    found = generate_load(system, TEXTS, Load(scenario="server", queries=80, rate=1_000))
    assert found.texts == len(found.latencies_ns) == 80
    assert max(map(len, system.asked)) == 4
    assert max(found.latencies_ns) > 0.2e9  # 20 batches of 20 ms, all due in the first 0.1 s
    assert np.median(found.latencies_ns) > 5 * 0.02e9


def test_a_system_that_fails_ends_the_load() -> None:
    class Broken(Sleepy):
        def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
            raise OSError("no such thing")

    with pytest.raises(OSError, match="no such thing"):
        generate_load(Broken(), TEXTS, Load(scenario="single-stream", queries=5))


def test_a_service_that_fails_ends_the_load() -> None:
    class Broken(Sleepy):
        def serve(self) -> BatchServing:
            def fail(texts: Sequence[Text]) -> None:
                raise OSError("no such thing")

            return BatchServing(fail, 4)

    with pytest.raises(OSError, match="no such thing"):
        generate_load(Broken(), TEXTS, Load(scenario="server", queries=9, rate=1_000))


def test_the_engines_service_tells_what_failed(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = build(SystemSpec(name="engine", kind="engine", model=str(artifact), optimize_for="latency"))
    load = Load(scenario="server", queries=9, rate=1_000)
    assert generate_load(engine, ["good film", "bad"], load).texts == 9

    def fail(*_: object) -> None:
        raise OSError("no such thing")

    monkeypatch.setattr(onnxpress.Classifier, "answer", fail)
    with pytest.raises(OSError, match="no such thing"):
        generate_load(engine, ["good film", "bad"], load)


def test_requests_that_wait_are_answered_before_serving_ends() -> None:
    done: list[int] = []
    serving = BatchServing(lambda texts: time.sleep(PAUSE), 3)
    for number in range(10):
        serving.submit("text", lambda number=number: done.append(number))  # type: ignore[misc]
    serving.close()
    assert done == list(range(10))


def test_batches_hold_texts_of_about_equal_length() -> None:
    texts: list[Text] = ["a" * 9, "a", ("a" * 4, "a" * 4), "aa", "aaa"]
    assert batches_by_length(texts, 2) == [[0, 2], [4, 3], [1]]


def test_batched_answers_come_in_the_order_asked() -> None:
    def tokenize(texts: Sequence[Text]) -> list[int]:
        return [len(text) for text in texts]

    def forward(lengths: list[int]) -> NDArray[np.float32]:
        return np.array([[length, -length] for length in lengths], np.float32)

    def make(size: int) -> BatchedSystem:
        return BatchedSystem(("a", "b"), tokenize, forward, size)

    texts = ["a" * length for length in (3, 1, 4, 1, 5)]
    for size in (1, 2, 10):
        assert make(size).logits(texts)[:, 0].tolist() == [3, 1, 4, 1, 5]
    assert make(2).encode(texts) == [[5, 4], [3, 1], [1]]
