"""What a supervisor does about its workers, without any."""

from __future__ import annotations

import asyncio
import pickle
from multiprocessing import Pipe
from pathlib import Path

import pytest

import onnxpress
from onnxpress.serving.http import link as linking
from onnxpress.serving.http.limits import Limits
from onnxpress.serving.http.link import Asked, Gathered, Link, Ready, Told, Wanted
from onnxpress.serving.http.server import Serving, listen
from onnxpress.serving.http.workers import WorkerEndedError, supervise
from tests.serving.http.conftest import SECONDS


def test_its_error_is_one_line_and_survives_pickling() -> None:
    error = WorkerEndedError(3, "exit status -9")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and "\n" not in str(error) and again.number == 3
    assert isinstance(error, onnxpress.OnnxpressError)


@pytest.mark.parametrize("workers", [0, -1, 257, 2.5, True])
def test_a_number_of_workers_that_is_none(workers: object) -> None:
    serving = Serving(artifacts={"a": Path("a")}, load=onnxpress.load, limits=Limits(), token=None, close_seconds=1)
    with listen("127.0.0.1", 0) as listening, pytest.raises(onnxpress.ConfigError, match="workers must be"):
        supervise(serving, workers, listening=listening, on_ready=print)  # type: ignore[arg-type]


def test_a_link_tells_its_own_and_gathers_those_of_all() -> None:
    ours, theirs = Pipe()

    async def main() -> None:
        link, lost = Link(1, theirs), asyncio.Event()
        link.tell(Ready())
        link.listen(asyncio.get_running_loop(), lambda: [], lost.set)
        ours.send(Asked(7))
        gathering = asyncio.ensure_future(link.gathered())
        heard = await asyncio.to_thread(lambda: [ours.recv() for _ in range(3)])
        assert Ready() in heard and Told(7, []) in heard
        (wanted,) = [message for message in heard if isinstance(message, Wanted)]
        ours.send(Gathered(wanted.ticket + 1, [], 9))  # another's
        ours.send(Gathered(wanted.ticket, [], 2))
        assert await gathering == Gathered(wanted.ticket, [], 2)
        ours.close()
        await asyncio.wait_for(lost.wait(), SECONDS)
        link.tell(Ready())  # to nobody

    asyncio.run(asyncio.wait_for(main(), SECONDS))


def test_a_supervisor_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking, "_PATIENCE", 0.05)
    ours, theirs = Pipe()
    with ours, theirs:
        assert asyncio.run(asyncio.wait_for(Link(0, theirs).gathered(), SECONDS)) is None
