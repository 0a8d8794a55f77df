"""The same queue, from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

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
    import threading

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
