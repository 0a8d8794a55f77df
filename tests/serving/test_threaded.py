"""The queue: batches of what waits, bounds, deadlines, cancellation, and an orderly end."""

from __future__ import annotations

import random
import shutil
import threading
import time
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress import ThreadedClassifier
from tests.conftest import edit_json
from tests.serving.conftest import Gate

BATCHED = 5e-6  # the same kernels, other blockings of the same sums
FOUR, FIVE = "good film", "a good film"  # tokens with the special ones


def busy(service: ThreadedClassifier, gate: Gate) -> Future[np.ndarray]:
    """A request whose run is held, so that all others wait."""
    gate.shut()
    first = service.submit("dull")
    gate.wait_for_a_run()
    return first


def test_answers_are_those_of_the_classifier(classifier: onnxpress.Classifier, texts: list[str]) -> None:
    with ThreadedClassifier(classifier) as service:
        futures = [service.submit(text) for text in texts]
        found = np.array([future.result(30) for future in futures])
        assert service.classify(texts[0]) == classifier(texts[0])
        assert service.classify((texts[0], texts[1]), top_k=2)[0].label == classifier((texts[0], texts[1])).label
    np.testing.assert_allclose(found, classifier.logits(texts), rtol=0, atol=BATCHED)
    assert classifier(texts[0]).label, "the classifier outlives the service"


def test_a_batch_is_what_waits(classifier: onnxpress.Classifier, gate: Gate) -> None:
    with ThreadedClassifier(classifier) as service:
        first = busy(service, gate)
        futures = [service.submit(text) for text in (FIVE, FOUR, FIVE, FOUR, FIVE)]
        gate.open()
        wait([first, *futures], timeout=20)
    assert gate.lengths == [[3], [5, 4, 5, 4, 5]]


def test_without_a_packed_graph_a_batch_has_the_oldest_length(artifact: Path, tmp_path: Path) -> None:
    older = tmp_path / "artifact"
    shutil.copytree(artifact, older)
    edit_json(older / "onnxpress.json", lambda manifest: manifest["variants"][0].pop("packed"))  # type: ignore[index]
    with onnxpress.load(older, threads=1, spinning=False) as classifier:
        gate = Gate(classifier)
        with ThreadedClassifier(classifier) as service:
            first = busy(service, gate)
            futures = [service.submit(text) for text in (FIVE, FOUR, FIVE, FOUR, FIVE)]
            gate.open()
            wait([first, *futures], timeout=20)
    assert gate.lengths == [[3], [5, 5, 5], [4, 4]]


def test_an_answer_has_the_same_bits_in_any_company(classifier: onnxpress.Classifier, texts: list[str]) -> None:
    mixed = classifier.mixed()
    alone = np.concatenate([mixed.run(mixed.encode([text])) for text in texts])
    order = np.random.default_rng(2).permutation(len(texts))
    together = np.empty_like(alone)
    for start in range(0, len(texts), 11):
        chosen = order[start : start + 11]
        together[chosen] = mixed.run(mixed.encode([texts[index] for index in chosen]))
    short = [len(encoding) <= 128 for encoding in mixed.encode(texts).encodings]  # a multiple of 16 below the longest
    assert sum(short) > 200 and np.array_equal(alone[short], together[short])
    np.testing.assert_allclose(alone, classifier.logits(texts), rtol=0, atol=BATCHED)


def test_a_batch_keeps_the_token_budget(artifact: Path) -> None:
    with onnxpress.load(artifact, threads=1, max_tokens=32, spinning=False) as classifier:
        gate = Gate(classifier)
        with ThreadedClassifier(classifier) as service:
            first = busy(service, gate)
            futures = [service.submit(FOUR) for _ in range(5)]
            gate.open()
            wait([first, *futures], timeout=20)
    assert gate.sizes == [1, 2, 2, 1]


def test_windows_of_a_long_text_run_alone(artifact: Path) -> None:
    long = "good " * 400
    with onnxpress.load(artifact, threads=1, long_text="windows", spinning=False) as classifier:
        wanted = classifier.logits([long, FOUR])
        gate = Gate(classifier)
        with ThreadedClassifier(classifier) as service:
            first = busy(service, gate)
            futures = [service.submit(text) for text in (long, FOUR, long)]
            gate.open()
            found = np.array([future.result(20) for future in futures])
            first.result(20)
    assert gate.sizes == [1, 4, 1, 4]
    np.testing.assert_allclose(found, wanted[[0, 1, 0]], rtol=0, atol=BATCHED)


def test_a_full_queue_refuses_at_once(classifier: onnxpress.Classifier, gate: Gate) -> None:
    with ThreadedClassifier(classifier, max_requests=2) as service:
        first = busy(service, gate)
        futures = [service.submit(FOUR), service.submit(FOUR)]
        with pytest.raises(onnxpress.OverloadedError, match=r"3 requests would wait; the limit is 2\. .*max_requests"):
            service.submit(FOUR)
        with pytest.raises(onnxpress.OverloadedError):
            service.submit("x" * 1_000_000)  # too long, but nobody looks at a text that there is no room for
        gate.open()
        assert [len(future.result(20)) for future in [first, *futures]] == [2, 2, 2]
        assert len(service.submit(FOUR).result(20)) == 2
        assert service.metrics().requests["refused"] == 2


def test_tokens_are_bounded_too(classifier: onnxpress.Classifier, gate: Gate) -> None:
    with ThreadedClassifier(classifier, max_tokens=10) as service:
        first = busy(service, gate)
        futures = [service.submit("good " * 30)]  # alone in the queue, it may be larger than the limit
        with pytest.raises(onnxpress.OverloadedError, match=r"36 tokens would wait; the limit is 10\. .*max_tokens"):
            service.submit(FOUR)
        gate.open()
        wait([first, *futures], timeout=20)


def test_or_lets_its_callers_wait(classifier: onnxpress.Classifier, gate: Gate) -> None:
    with ThreadedClassifier(classifier, max_requests=1, when_full="wait") as service:
        first = busy(service, gate)
        futures = [service.submit(text) for text in (FIVE, FOUR, FIVE, FIVE)]
        assert service.metrics().waiting == 4
        futures[2].cancel()
        gate.open()
        assert [len(future.result(20)) for future in (first, futures[0], futures[1], futures[3])] == [2] * 4
        metrics = service.metrics()
    assert gate.lengths == [[3], [5], [4], [5]], "in order, and never more than the queue holds"
    assert metrics.requests == {"answered": 4, "failed": 0, "refused": 0, "expired": 0, "cancelled": 1}


def test_a_large_one_that_leaves_the_line_lets_those_behind_it_in(classifier: onnxpress.Classifier, gate: Gate) -> None:
    with ThreadedClassifier(classifier, max_tokens=9, when_full="wait") as service:
        first = busy(service, gate)
        inside, large, small = (service.submit(text) for text in (FIVE, FIVE, FOUR))
        assert service.metrics().waiting_tokens == 5
        large.cancel()
        assert service.metrics().waiting_tokens == 9, "the small one is in the queue"
        gate.open()
        wait([first, inside, small], timeout=20)


def test_an_expired_request_is_never_run(classifier: onnxpress.Classifier, gate: Gate) -> None:
    with ThreadedClassifier(classifier) as service:
        first = busy(service, gate)
        with pytest.raises(onnxpress.DeadlineExceededError, match=r"no answer within 0\.05 s"):
            service.classify(FOUR, timeout=0.05)
        late = service.submit(FOUR, timeout=0.01)  # its caller does not look
        time.sleep(0.02)
        gate.open()
        with pytest.raises(onnxpress.DeadlineExceededError):
            late.result(20)
        first.result(20)
        assert service.metrics().requests["expired"] == 2
    assert gate.sizes == [1]


def test_a_cancelled_request_is_not_run_and_makes_room(classifier: onnxpress.Classifier, gate: Gate) -> None:
    with ThreadedClassifier(classifier, max_requests=1) as service:
        first = busy(service, gate)
        assert service.submit(FOUR).cancel()
        kept = service.submit(FIVE)
        gate.open()
        wait([first, kept], timeout=20)
        metrics = service.metrics()
    assert gate.lengths == [[3], [5]]
    assert metrics.requests["cancelled"] == 1 and metrics.waiting == metrics.waiting_tokens == 0


def test_a_failed_run_reaches_all_its_callers_and_the_service_goes_on(
    classifier: onnxpress.Classifier, gate: Gate
) -> None:
    with ThreadedClassifier(classifier) as service:
        first = busy(service, gate)
        futures = [service.submit(FOUR) for _ in range(3)]
        gate.error = MemoryError("no room")
        gate.open()
        for future in [first, *futures]:
            with pytest.raises(MemoryError, match="no room"):
                future.result(20)
        gate.error = None
        assert service.classify(FOUR).label
        assert service.metrics().requests["failed"] == 4


def test_it_waits_for_company_only_when_asked(classifier: onnxpress.Classifier, gate: Gate) -> None:
    with ThreadedClassifier(classifier, max_delay_ms=60_000) as service:
        futures = [service.submit(FOUR) for _ in range(64)]  # a full batch waits no longer: of 512 tokens with padding
        wait(futures, timeout=20)
        assert gate.sizes == [32, 32]
        last = service.submit(FOUR)
        service.close()  # nor does what waits when the service ends
        assert len(last.result(20)) == 2


def test_it_closes_in_order(classifier: onnxpress.Classifier, gate: Gate) -> None:
    service = ThreadedClassifier(classifier)
    first = busy(service, gate)
    futures = [service.submit(text) for text in (FOUR, FIVE)]
    closing = threading.Thread(target=service.close)
    closing.start()
    while not service._service._batcher._closed:
        time.sleep(0.001)
    with pytest.raises(onnxpress.ClosedError, match="this service is closed"):
        service.submit(FOUR)
    assert not any(future.done() for future in futures)
    gate.open()
    closing.join(20)
    assert all(future.done() and not future.exception() for future in [first, *futures])


def test_what_is_not_answered_in_time_fails_as_it_closes(classifier: onnxpress.Classifier, gate: Gate) -> None:
    service = ThreadedClassifier(classifier, max_requests=2, when_full="wait")
    first = busy(service, gate)
    futures = [service.submit(FOUR) for _ in range(5)]
    threading.Timer(0.2, gate.open).start()
    service.close(timeout=0.05)
    assert len(first.result(20)) == 2, "what ran is answered"
    for future in futures:
        with pytest.raises(onnxpress.ClosedError):
            future.result(20)


def test_under_load_cancelled_and_closed_every_future_ends_once(classifier: onnxpress.Classifier) -> None:
    """Callers submit, cancel and let expire at random while the service closes."""
    service = ThreadedClassifier(classifier, max_requests=50, when_full="wait")
    ends: list[Future[np.ndarray]] = []
    lock, stop = threading.Lock(), threading.Event()
    made: list[Future[np.ndarray]] = []

    def call(seed: int) -> None:
        generator = random.Random(seed)
        while not stop.is_set():
            timeout = generator.choice([None, 0.001, 1.0])
            try:
                future = service.submit("good " * generator.randint(1, 9), timeout=timeout)
            except onnxpress.ClosedError:
                return
            with lock:
                made.append(future)
            future.add_done_callback(ends.append)
            if generator.random() < 0.2:
                future.cancel()
            elif generator.random() < 0.5:
                wait([future], timeout=0.01)

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    service.close(timeout=0.05)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert len(made) > 100 and len(ends) == len(made) == len(set(map(id, ends)))
    outcomes = {"answered": 0, "failed": 0, "expired": 0, "cancelled": 0}
    for future in made:
        assert future.done()
        try:
            outcomes["answered"] += len(future.result()) == 2
        except CancelledError:
            outcomes["cancelled"] += 1
        except onnxpress.DeadlineExceededError:
            outcomes["expired"] += 1
        except onnxpress.ClosedError:
            outcomes["failed"] += 1
    counted = service.metrics()
    assert outcomes["answered"] == counted.requests["answered"] > 0
    assert outcomes["failed"] == counted.requests["failed"]
    gone = counted.requests["expired"] + counted.requests["cancelled"]
    assert outcomes["expired"] + outcomes["cancelled"] == gone > 0
    assert (counted.waiting, counted.waiting_tokens) == (0, 0)


def test_metrics_tell_depth_size_and_time(classifier: onnxpress.Classifier, gate: Gate) -> None:
    with ThreadedClassifier(classifier) as service:
        first = busy(service, gate)
        futures = [service.submit(FOUR) for _ in range(3)]
        waiting = service.metrics()
        gate.open()
        wait([first, *futures], timeout=20)
        found = service.metrics()
    assert (waiting.waiting, waiting.waiting_tokens) == (3, 12)
    assert waiting.requests["answered"] == 0 and found.requests["answered"] == 4
    assert (found.depth.count, found.depth.total) == (4, 0 + 0 + 1 + 2)
    assert (found.batch_size.count, found.batch_size.total) == (2, 4)
    assert found.seconds.count == 4 and 0 < found.seconds.quantile(0.5) <= found.seconds.quantile(1.0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"max_requests": 0}, "max_requests must be at least 1, got 0"),
        ({"max_tokens": 0}, "max_tokens must be at least 1, got 0"),
        ({"max_delay_ms": float("nan")}, "max_delay_ms must be 0 or more, got nan"),
        ({"when_full": "drop"}, "when_full must be raise or wait, got 'drop'"),
    ],
)
def test_settings_that_cannot_be(classifier: onnxpress.Classifier, settings: dict[str, object], says: str) -> None:
    with pytest.raises(onnxpress.ConfigError, match=says):
        ThreadedClassifier(classifier, **settings)  # type: ignore[arg-type]


def test_bad_requests_are_told_and_not_queued(classifier: onnxpress.Classifier) -> None:
    with ThreadedClassifier(classifier) as service:
        with pytest.raises(onnxpress.TextTypeError):
            service.classify(7)  # type: ignore[call-overload]
        with pytest.raises(onnxpress.ConfigError, match="timeout must be above 0 s, got 0"):
            service.classify(FOUR, timeout=0)
        with pytest.raises(onnxpress.ConfigError, match="top_k must be at least 1, got 0"):
            service.classify(FOUR, top_k=0)
        assert service.metrics().depth.count == 0
        for close in (-1, float("nan")):
            with pytest.raises(onnxpress.ConfigError, match="timeout must be 0 s or more"):
                service.close(timeout=close)
        assert service.classify(FOUR, timeout=float("inf")).label and service.classify(FOUR, timeout=1e300).label


def test_a_long_text_does_not_run_beside_short_ones(classifier: onnxpress.Classifier, gate: Gate) -> None:
    """Batches are those that the runner makes: as wide as their texts, though all wait at once."""
    with ThreadedClassifier(classifier) as service:
        first = busy(service, gate)
        lengths = [3, 120, 3, 3, 60, 3, 14]
        futures = [service.submit("good " * length) for length in lengths]
        gate.open()
        wait([first, *futures], timeout=20)
    assert gate.lengths[1:] == [[5, 5, 5, 5, 16], [122], [62]]


def test_the_oldest_is_in_the_next_batch(classifier: onnxpress.Classifier, gate: Gate) -> None:
    """However many others of another width come."""
    with ThreadedClassifier(classifier) as service:
        first = busy(service, gate)
        futures = [service.submit("good " * 120)] + [service.submit(FOUR) for _ in range(40)]
        gate.open()
        wait([first, *futures], timeout=20)
    assert [sizes[0] for sizes in gate.lengths[1:]] == [122, 4, 4] and gate.sizes[2:] == [32, 8]


def test_what_has_expired_takes_no_room_in_a_batch(artifact: Path) -> None:
    with onnxpress.load(artifact, threads=1, max_tokens=64, spinning=False) as classifier:  # four rows of 16
        gate = Gate(classifier)
        with ThreadedClassifier(classifier) as service:
            first = busy(service, gate)
            futures = [service.submit(FOUR, timeout=0.001 if n in (1, 2, 3) else None) for n in range(7)]
            time.sleep(0.01)
            gate.open()
            wait([first, *futures], timeout=20)
            assert service.metrics().requests["expired"] == 3
    assert gate.sizes == [1, 4]


def test_an_answer_that_comes_too_late_is_none(classifier: onnxpress.Classifier, gate: Gate) -> None:
    """Its caller was told so; its future and the metrics say the same."""
    with ThreadedClassifier(classifier) as service:
        gate.shut()
        late = service.submit(FOUR, timeout=0.01)
        gate.wait_for_a_run()
        time.sleep(0.02)
        gate.open()
        with pytest.raises(onnxpress.DeadlineExceededError):
            late.result(20)
        counted = service.metrics()
    assert (counted.requests["expired"], counted.requests["answered"], counted.batch_size.count) == (1, 0, 1)


def test_the_line_outside_is_bounded(classifier: onnxpress.Classifier, gate: Gate) -> None:
    with ThreadedClassifier(classifier, max_requests=2, max_callers=3, when_full="wait") as service:
        first = busy(service, gate)
        futures = [service.submit(FOUR) for _ in range(5)]
        with pytest.raises(
            onnxpress.OverloadedError, match=r"4 callers would wait; the limit is 3\. .*max_callers"
        ) as said:
            service.submit(FOUR)
        assert "when_full" not in str(said.value)
        futures[4].cancel()
        futures[4] = service.submit(FOUR, timeout=0.001)
        time.sleep(0.01)
        gate.open()
        assert [len(future.result(20)) for future in [first, *futures[:4]]] == [2] * 5
        with pytest.raises(onnxpress.DeadlineExceededError):
            futures[4].result(20)
        counted = service.metrics().requests
    assert counted == {"answered": 5, "failed": 0, "refused": 1, "expired": 1, "cancelled": 1}


def test_several_texts_are_taken_together_or_not_at_all(classifier: onnxpress.Classifier, gate: Gate) -> None:
    with ThreadedClassifier(classifier, max_requests=4) as service:
        first = busy(service, gate)
        waiting = service.submit(FOUR)
        with pytest.raises(onnxpress.OverloadedError, match="5 requests would wait; the limit is 4"):
            service.classify([FOUR] * 4)
        with pytest.raises(onnxpress.TextTypeError, match="text 1 is of type NoneType"):
            service.classify([FOUR, None])  # type: ignore[list-item]
        assert service.metrics().waiting == 1
        with pytest.raises(onnxpress.DeadlineExceededError):
            service.classify([FOUR, FIVE], timeout=0.02)
        gate.open()
        wait([first, waiting], timeout=20)
        assert [answer.label for answer in service.classify([FOUR, FIVE])] == [
            classifier(t).label for t in (FOUR, FIVE)
        ]
        assert service.accepted([FOUR]) == [[service.classify(FOUR)]] and service.accepted(FOUR) == [
            service.classify(FOUR)
        ]
        counted = service.metrics().requests
    assert (counted["refused"], counted["expired"], counted["cancelled"], counted["failed"]) == (4, 2, 0, 0)


def test_accepted_follows_the_thresholds(artifact: Path, tmp_path: Path) -> None:
    strict = tmp_path / "artifact"
    shutil.copytree(artifact, strict)
    edit_json(strict / "onnxpress.json", lambda manifest: manifest.update(thresholds=[0.0, 1.0]))
    with onnxpress.load(strict, threads=1) as classifier, ThreadedClassifier(classifier) as service:
        assert [[a.label for a in row] for row in service.accepted([FOUR, FIVE])] == [["negative"], ["negative"]]


def test_cancelling_while_it_closes_ends_each_future_once(classifier: onnxpress.Classifier, gate: Gate) -> None:
    """A done-callback that cancels others, and one that closes the service, as it closes."""
    for when_full in ("raise", "wait"):
        service = ThreadedClassifier(classifier, max_requests=3 if when_full == "wait" else 9, when_full=when_full)  # type: ignore[arg-type]
        first = busy(service, gate)
        futures = [service.submit(FOUR) for _ in range(6)]
        futures[0].add_done_callback(lambda _, others=futures: [other.cancel() for other in others[1:]])
        futures[1].add_done_callback(lambda _, service=service: service.metrics())
        threading.Timer(0.1, gate.open).start()
        service.close(timeout=0.01)
        assert all(future.done() for future in [first, *futures])
        counted = service.metrics()
        assert counted.requests["failed"] + counted.requests["cancelled"] == 6 and counted.requests["answered"] == 1
        assert (counted.waiting, counted.waiting_tokens) == (0, 0)


def test_a_mistake_in_the_queue_itself_reaches_everyone(
    classifier: onnxpress.Classifier, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ThreadedClassifier(classifier)
    first = busy(service, gate)
    futures = [service.submit(FOUR) for _ in range(3)]
    monkeypatch.setattr(classifier.mixed(), "company", lambda waiting, shape: 1 / 0)
    gate.open()
    assert len(first.result(20)) == 2
    for future in futures:
        with pytest.raises(ZeroDivisionError):
            future.result(20)
    with pytest.raises(onnxpress.ClosedError):
        service.classify(FOUR)
    service.close()


def test_a_service_may_be_closed_by_its_own_callback(classifier: onnxpress.Classifier) -> None:
    service = ThreadedClassifier(classifier)
    closed = threading.Event()
    service.submit(FOUR).add_done_callback(lambda _: (service.close(), closed.set()))
    assert closed.wait(20)
    service.close()


def test_text_forms_are_those_of_the_classifier(classifier: onnxpress.Classifier) -> None:
    refused: list[object] = [None, 7, b"good", ("a", "b", "c"), {"good"}, {"other": "a"}]
    with ThreadedClassifier(classifier) as service:
        for text in refused:
            with pytest.raises(onnxpress.TextTypeError, match="text 0"):
                service.classify(text)  # type: ignore[call-overload]
            with pytest.raises(onnxpress.TextTypeError, match="text 1"):
                service.classify(["good", text])  # type: ignore[list-item]
        assert service.classify((FOUR, FIVE)).label == classifier((FOUR, FIVE)).label
        assert sum(service.metrics().requests.values()) == 1
