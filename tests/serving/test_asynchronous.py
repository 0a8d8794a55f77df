"""The same queue, from an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

import onnxpress
from onnxpress import AsyncClassifier
from tests.serving.conftest import Gate

FOUR, FIVE = "good film", "a good film"


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(main(), timeout=60)

    asyncio.run(limited())


async def busy(service: AsyncClassifier, gate: Gate) -> asyncio.Task[onnxpress.Prediction]:
    """A request whose run is held, so that all others wait."""
    gate.shut()
    first = asyncio.create_task(service.classify("dull"))
    await asyncio.get_running_loop().run_in_executor(None, gate.wait_for_a_run)
    return first


def test_concurrent_callers_get_the_answers_of_one(classifier: onnxpress.Classifier, texts: list[str]) -> None:
    async def main() -> None:
        async with AsyncClassifier(classifier) as service:
            found = await asyncio.gather(*map(service.classify, texts))
            top = await service.classify(texts[0], top_k=2)
            pair = await service.classify((texts[0], texts[1]))
        for prediction, wanted in zip(found, classifier(texts), strict=True):
            assert prediction.label == wanted.label and prediction.score == pytest.approx(wanted.score, abs=1e-5)
        assert [prediction.label for prediction in top] == [p.label for p in classifier(texts[0], top_k=2)]
        assert pair.label == classifier((texts[0], texts[1])).label

    run(main)


def test_what_waits_runs_together(classifier: onnxpress.Classifier, gate: Gate) -> None:
    async def main() -> None:
        async with AsyncClassifier(classifier) as service:
            first = await busy(service, gate)
            others = [asyncio.create_task(service.classify(FOUR)) for _ in range(10)]
            await asyncio.sleep(0.05)
            gate.open()
            await asyncio.gather(first, *others)
        assert gate.sizes == [1, 10]

    run(main)


def test_a_full_queue_raises_or_lets_wait(classifier: onnxpress.Classifier, gate: Gate) -> None:
    async def main() -> None:
        async with AsyncClassifier(classifier, max_requests=1) as service:
            first = await busy(service, gate)
            second = asyncio.create_task(service.classify(FOUR))
            await asyncio.sleep(0.02)
            with pytest.raises(onnxpress.OverloadedError):
                await service.classify(FOUR)
            gate.open()
            await asyncio.gather(first, second)
        async with AsyncClassifier(classifier, max_requests=1, when_full="wait") as service:
            assert len(await asyncio.gather(*(service.classify(FOUR) for _ in range(20)))) == 20

    run(main)


def test_a_cancelled_task_and_an_expired_one_are_not_run(classifier: onnxpress.Classifier, gate: Gate) -> None:
    async def main() -> None:
        async with AsyncClassifier(classifier) as service:
            first = await busy(service, gate)
            cancelled = asyncio.create_task(service.classify(FOUR))
            await asyncio.sleep(0.02)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            with pytest.raises(onnxpress.DeadlineExceededError, match=r"within 0\.03 s"):
                await service.classify(FIVE, timeout=0.03)
            gate.open()
            await first
            assert await service.classify(FOUR, timeout=20)
            metrics = service.metrics()
        assert gate.lengths == [[3], [4]]
        assert (metrics.requests["cancelled"], metrics.requests["expired"]) == (1, 1)

    run(main)


def test_it_drains_as_it_closes(classifier: onnxpress.Classifier, gate: Gate) -> None:
    async def main() -> None:
        service = AsyncClassifier(classifier)
        first = await busy(service, gate)
        other = asyncio.create_task(service.classify(FOUR))
        await asyncio.sleep(0.02)
        closing = asyncio.create_task(service.close())
        await asyncio.sleep(0.02)
        with pytest.raises(onnxpress.ClosedError):
            await service.classify(FOUR)
        gate.open()
        await closing
        assert (await first).label and (await other).label

    run(main)


def test_what_does_not_drain_in_time_fails(classifier: onnxpress.Classifier, gate: Gate) -> None:
    async def main() -> None:
        service = AsyncClassifier(classifier)
        first = await busy(service, gate)
        other = asyncio.create_task(service.classify(FOUR))
        await asyncio.sleep(0.02)
        closing = asyncio.create_task(service.close(timeout=0.02))
        with pytest.raises(onnxpress.ClosedError):
            await other
        gate.open()
        await closing
        assert (await first).label

    run(main)


def test_a_long_text_does_not_hold_the_loop(classifier: onnxpress.Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tokenized in another thread; a short one at once."""
    threads = []
    encode = classifier.encode
    monkeypatch.setattr(classifier, "encode", lambda texts: threads.append(threading.current_thread()) or encode(texts))

    async def main() -> None:
        async with AsyncClassifier(classifier) as service:
            await service.classify("good " * 10_000)
            await service.classify(FOUR)
            with pytest.raises(onnxpress.TextTypeError):
                await service.classify(None)  # type: ignore[call-overload]

    run(main)
    assert threads[0] is not threading.main_thread() and threads[1] is threading.main_thread()


def in_default_executor(work: Callable[[], object]) -> None:
    """All threads of the loop's own executor are taken."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    loop.run_in_executor(None, work)


def test_the_loops_executor_is_not_waited_for(classifier: onnxpress.Classifier) -> None:
    """Another's blocking work there holds neither a long text, nor a deadline, nor a close."""
    release = threading.Event()

    async def main() -> None:
        in_default_executor(lambda: release.wait(30))
        try:
            service = AsyncClassifier(classifier)
            assert (await service.classify("good " * 10_000)).label
            assert len(await service.classify(["good " * 10_000, FOUR])) == 2
            await service.close(timeout=5)
            with pytest.raises(onnxpress.ClosedError):
                await service.classify("good " * 10_000)
        finally:
            release.set()

    run(main)


def test_a_deadline_counts_from_the_call(classifier: onnxpress.Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokenizing is part of it: here that takes for ever."""
    release, encode = threading.Event(), classifier.encode
    monkeypatch.setattr(classifier, "encode", lambda texts: release.wait(30) and encode(texts))

    async def main() -> None:
        service = AsyncClassifier(classifier)
        for text in ("good " * 10_000, "bad " * 10_000):  # the one that is tokenized, and one behind it
            with pytest.raises(onnxpress.DeadlineExceededError, match=r"within 0\.05 s"):
                await service.classify(text, timeout=0.05)
        assert service.metrics().requests["expired"] == 2 and service.metrics().waiting == 0
        task = asyncio.create_task(service.classify("good " * 10_000))
        await asyncio.sleep(0.02)
        assert service.metrics().waiting == 1
        closing = asyncio.create_task(service.close(timeout=0.05))
        await asyncio.sleep(0.2)
        release.set()
        await closing
        with pytest.raises(onnxpress.ClosedError):
            await task
        assert service.metrics().requests["failed"] == 1

    run(main)


def test_what_is_being_tokenized_counts_against_the_bounds(
    classifier: onnxpress.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, encode = threading.Event(), classifier.encode
    monkeypatch.setattr(classifier, "encode", lambda texts: release.wait(30) and encode(texts))

    async def main() -> None:
        async with AsyncClassifier(classifier, max_requests=2) as service:
            tasks = [asyncio.create_task(service.classify("good " * 10_000)) for _ in range(2)]
            await asyncio.sleep(0.02)
            with pytest.raises(onnxpress.OverloadedError, match="3 requests would wait; the limit is 2"):
                await service.classify("good " * 10_000)
            tasks[1].cancel()
            await asyncio.wait(tasks[1:])
            release.set()
            assert (await tasks[0]).label and (await service.classify(FOUR)).label
            counted = service.metrics()
        assert (counted.requests["refused"], counted.requests["cancelled"], counted.requests["answered"]) == (1, 1, 2)

    run(main)


def test_several_texts_and_accepted_labels(classifier: onnxpress.Classifier, texts: list[str]) -> None:
    async def main() -> None:
        async with AsyncClassifier(classifier) as service:
            found, best = await service.classify(texts), classifier(texts)
            assert [answer.label for answer in found] == [answer.label for answer in best]
            assert await service.classify([]) == [] and await service.accepted([]) == []
            top = await service.classify([texts[0], (texts[0], texts[1])], top_k=2)
            assert [[answer.label for answer in row] for row in top] == [
                [answer.label for answer in row] for row in classifier([texts[0], (texts[0], texts[1])], top_k=2)
            ]
            (accepted,) = await service.accepted([texts[0]])
            assert [answer.label for answer in accepted] == [best[0].label]
            assert await service.accepted(texts[0]) == accepted
            assert (await service.logits(texts[0])).shape == (1, 2) and (await service.logits(texts)).shape == (300, 2)
            with pytest.raises(onnxpress.TextTypeError, match="text 2 is of type int"):
                await service.classify(["good", "bad", 7])  # type: ignore[list-item]
            assert service.metrics().waiting == 0

    run(main)
