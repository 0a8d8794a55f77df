"""Closing lets what is under way end, then frees it."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress.errors import ClosedError
from onnxpress.running.lifetime import Lifetime

USES: dict[str, Callable[[onnxpress.Classifier, list[str]], object]] = {
    "call": lambda clf, texts: clf(texts),
    "logits": lambda clf, texts: clf.logits(texts),
    "probabilities": lambda clf, texts: clf.probabilities(texts),
    "accepted": lambda clf, texts: clf.accepted(texts),
    "encode": lambda clf, texts: clf.encode(texts),
    "run": lambda clf, texts: clf.run(clf.encode(texts)),
    "count_tokens": lambda clf, texts: clf.count_tokens(texts),
    "rejected": lambda clf, texts: clf.rejected(texts),
    "stream": lambda clf, texts: list(clf.stream(texts)),
    "stream_probabilities": lambda clf, texts: list(clf.stream_probabilities([texts])),
    "mixed": lambda clf, texts: clf.mixed(),
}


class Held:
    """The runs of a classifier, which wait from the second on until they are let go."""

    def __init__(self, classifier: onnxpress.Classifier) -> None:
        self.runs = 0
        self.second = threading.Event()
        self.go = threading.Event()
        self._run = classifier._cascade.main.run
        classifier._cascade.main.run = self._wait  # type: ignore[method-assign, assignment]

    def _wait(self, rows: object, bucket: object) -> object:
        self.runs += 1
        if self.runs == 2:
            self.second.set()
            assert self.go.wait(60), "nobody let it go"
        return self._run(rows, bucket)  # type: ignore[arg-type]


@pytest.mark.parametrize("optimize_for", ["latency", "throughput"])
def test_a_call_under_way_ends_as_if_nothing_had_happened(artifact: Path, texts: list[str], optimize_for: str) -> None:
    with onnxpress.load(artifact, threads=2, optimize_for=optimize_for) as other:  # type: ignore[arg-type]
        wanted = other.logits(texts)
    classifier = onnxpress.load(artifact, threads=2, optimize_for=optimize_for, max_texts=50)  # type: ignore[arg-type]
    held = Held(classifier)
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(classifier.logits, texts)
        assert held.second.wait(60)
        closing = pool.submit(classifier.close)
        while not classifier._lifetime._ended:
            pass
        assert not closing.done()
        with pytest.raises(ClosedError):
            classifier("good")
        held.go.set()
        np.testing.assert_allclose(call.result(60), wanted, rtol=0, atol=5e-6)
        closing.result(60)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("optimize_for", ["latency", "throughput"])
def test_after_the_end_every_method_says_so(artifact: Path, use: str, optimize_for: str) -> None:
    classifier = onnxpress.load(artifact, threads=2, optimize_for=optimize_for)  # type: ignore[arg-type]
    mixed = classifier.mixed()
    classifier.close()
    classifier.close()
    for closed in (classifier, mixed):
        with pytest.raises(ClosedError, match="this classifier is closed"):
            USES[use](closed, ["good"])


@pytest.mark.parametrize("optimize_for", ["latency", "throughput"])
def test_the_sessions_are_freed(artifact: Path, optimize_for: str) -> None:
    classifier = onnxpress.load(artifact, threads=2, optimize_for=optimize_for)  # type: ignore[arg-type]
    sessions = [weakref.ref(c._cascade.main.session.inference_session) for c in (classifier, classifier.mixed())]
    assert classifier(["good", "bad"] * 40)
    stream = classifier.stream(iter(["good"] * 100), chunk=10)
    next(stream)
    classifier.close()
    assert [session() for session in sessions] == [None, None]
    with pytest.raises(ClosedError):
        list(stream)


def test_what_nobody_refers_to_is_freed_without_being_closed(artifact: Path) -> None:
    classifier = onnxpress.load(artifact, threads=1)
    session = weakref.ref(classifier._cascade.main.session.inference_session)
    assert classifier("good").label
    gc.disable()
    try:
        del classifier
        assert session() is None
    finally:
        gc.enable()


def test_an_input_that_closes_it_is_no_deadlock(artifact: Path) -> None:
    classifier = onnxpress.load(artifact, threads=2, optimize_for="throughput")

    def texts() -> Iterator[str]:
        yield from ["good"] * 10
        classifier.close()
        yield from ["bad"] * 10

    with pytest.raises(ClosedError):
        list(classifier.stream(texts(), chunk=5))


def test_an_input_that_is_long_in_coming_does_not_hold_it(artifact: Path) -> None:
    classifier = onnxpress.load(artifact, threads=1)
    waits, go = threading.Event(), threading.Event()

    def texts() -> Iterator[str]:
        yield "good"
        waits.set()
        assert go.wait(60)
        yield "bad"

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(lambda: list(classifier.stream(texts(), chunk=1)))
        assert waits.wait(60)
        classifier.close()
        go.set()
        assert isinstance(call.exception(60), ClosedError)


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_forked_process_may_close_it_while_the_other_calls(artifact: Path, texts: list[str]) -> None:
    classifier = onnxpress.load(artifact, threads=1)
    held = Held(classifier)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(classifier.logits, texts)
        assert held.second.wait(60)
        child = os.fork()
        if not child:
            classifier.close()
            os._exit(7)
        held.go.set()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert len(call.result(60)) == len(texts)
    classifier.close()


def test_it_is_freed_once_by_the_last(artifact: Path) -> None:
    freed: list[int] = []
    lifetime = Lifetime(lambda: freed.append(1))
    with lifetime:
        lifetime.end()  # in its own call: there is nothing to wait for
        assert freed == []
        with lifetime:
            assert freed == []
    assert freed == [1]
    lifetime.end()
    assert freed == [1]
    with pytest.raises(ClosedError), lifetime:
        pass
