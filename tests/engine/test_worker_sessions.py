"""Workers times threads compute, not workers plus threads."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxpress
from onnxpress import loading, opening
from onnxpress.artifacts.artifact import open_artifact
from onnxpress.running.worker_sessions import WorkerSessions, affinity_of
from onnxpress.sessions.session import Session
from onnxpress.tuned.optimized import save_optimized

LINUX = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux's threads are listed")


def tasks() -> set[str]:
    return set(os.listdir("/proc/self/task"))


@LINUX
@pytest.mark.parametrize(("workers", "threads"), [(4, 16), (2, 8), (3, 6), (4, 4), (1, 4)])
def test_each_worker_has_its_threads(artifact: Path, texts: list[str], workers: int, threads: int) -> None:
    before = tasks()
    with onnxpress.load(artifact, workers=workers, threads=threads, spinning=False) as classifier:
        helpers = len(tasks() - before)
        assert helpers == threads - workers, "each worker is one thread, its session has the others"
        assert classifier.workers == workers
        classifier.logits(texts)
        callers = [thread for thread in threading.enumerate() if thread.name.startswith("onnxpress")]
        assert len(callers) == workers if workers > 1 else len(callers) <= threads, "they tokenize where none runs"


@LINUX
@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_answers_are_those_of_one_worker(
    artifact: Path, tmp_path: Path, texts: list[str], saved: bool, mixed: bool
) -> None:
    path = Path(shutil.copytree(artifact, tmp_path / "artifact"))
    if saved:
        opened = open_artifact(path)
        save_optimized(opened, opened.variant("fp32"))
    with onnxpress.load(path, workers=1, threads=2) as one, onnxpress.load(path, workers=2, threads=4) as two:
        if mixed:
            one, two = one.mixed(), two.mixed()
        np.testing.assert_allclose(two.run(two.encode(texts)), one.run(one.encode(texts)), atol=1e-6)
        np.testing.assert_allclose(two.logits(texts), one.logits(texts), atol=1e-5)


@LINUX
def test_workers_of_several_threads_are_pinned(
    artifact: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sorted(os.sched_getaffinity(0))[:2]
    monkeypatch.setattr(loading, "_check_affinity", lambda *_: None)  # two CPUs stand for four
    before = tasks()
    with onnxpress.load(artifact, workers=2, threads=4, affinity=(first, second, second, first)) as classifier:
        helpers = tasks() - before
        assert sorted(min(os.sched_getaffinity(int(task))) for task in helpers) == [first, second]
        classifier.logits(texts)
        callers = {str(thread.native_id) for thread in threading.enumerate() if thread.name.startswith("onnxpress")}
        assert sorted(min(os.sched_getaffinity(int(task))) for task in callers) == [first, second]
        assert all(len(os.sched_getaffinity(int(task))) == 1 for task in (*helpers, *callers))


@LINUX
def test_as_many_cpus_as_threads_are_named(artifact: Path) -> None:
    with pytest.raises(onnxpress.ConfigError, match="each of 4 threads"):
        onnxpress.load(artifact, workers=2, threads=4, affinity=[0, 1])


@pytest.mark.parametrize(
    ("worker", "affinity", "threads", "helpers"),
    [(0, (4, 5, 6, 7), 2, (5,)), (1, (4, 5, 6, 7), 2, (7,)), (0, (4, 5, 6, 7), 4, (5, 6, 7)), (1, None, 2, None)],
)
def test_each_session_gets_the_cpus_behind_its_callers(
    worker: int, affinity: tuple[int, ...] | None, threads: int, helpers: tuple[int, ...] | None
) -> None:
    assert affinity_of(worker, affinity, threads) == helpers


class Slow:
    """A session that answers with its own number, once as many run as were asked for."""

    input_names, label_count, output_rank, device, index = ("input_ids",), 1, 2, "cpu", 0

    def __init__(self, number: int, together: threading.Barrier | None) -> None:
        self.number, self.together = number, together

    def run(self, _: object) -> NDArray[np.float32]:
        if self.together is not None:
            self.together.wait(timeout=10)
        return np.array([[self.number]], dtype=np.float32)


def answers(sessions: WorkerSessions, callers: int) -> list[int]:
    found: list[int] = []

    def call() -> None:
        found.append(int(sessions.run({})[0, 0]))

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found)


@pytest.mark.parametrize(("callers", "used"), [(1, [0]), (3, [0, 1, 2]), (6, [0, 0, 1, 1, 2, 2])])
def test_callers_share_the_sessions_evenly(callers: int, used: list[int]) -> None:
    together = threading.Barrier(callers)
    sessions = [Slow(number, together) for number in range(3)]
    assert answers(WorkerSessions(sessions, None), callers) == used  # type: ignore[arg-type]


def test_a_run_that_fails_gives_its_session_back() -> None:
    class Failing(Slow):
        def run(self, _: object) -> NDArray[np.float32]:
            raise RuntimeError("no memory")

    sessions = WorkerSessions([Failing(0, None), Slow(1, None)], None)  # type: ignore[list-item]
    for _ in range(3):
        with pytest.raises(RuntimeError, match="no memory"):
            sessions.run({})


@pytest.mark.parametrize(("cpus", "number"), [({8}, 1), ({4}, 0), ({5}, 0), ({4, 8}, 0)])
def test_a_pinned_thread_takes_the_session_beside_it(
    monkeypatch: pytest.MonkeyPatch, cpus: set[int], number: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: cpus, raising=False)
    sessions = WorkerSessions([Slow(0, None), Slow(1, None)], (4, 5, 8, 9))  # type: ignore[list-item]
    assert sessions.run({})[0, 0] == number


@pytest.mark.parametrize(("workers", "threads", "sessions"), [(4, 4, 1), (1, 4, 1), (2, 4, 2)])
def test_sessions_are_opened_only_where_threads_must_be_told_apart(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, workers: int, threads: int, sessions: int
) -> None:
    opened = []

    class Spy(Session):
        def __init__(self, *arguments: object, **settings: object) -> None:
            opened.append(settings["threads"])
            super().__init__(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(opening, "Session", Spy)
    onnxpress.load(artifact, workers=workers, threads=threads).close()
    assert opened == [threads // workers] * sessions
