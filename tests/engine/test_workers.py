from __future__ import annotations

import os
import threading

import pytest

from onnxpress.running.workers import Workers


def test_what_is_urgent_is_run_first_and_equals_in_their_order() -> None:
    workers, gate, ran = Workers(1), threading.Event(), []
    try:
        held = workers.submit(lambda: (gate.wait(), None)[1])
        futures = [
            workers.submit(lambda name=name: ran.append(name), urgency=urgency)
            for name, urgency in (("first", 0), ("second", 0), ("rerun", 1), ("third", 0), ("last stage", 2))
        ]
        gate.set()
        for future in (held, *futures):
            future.result(timeout=10)
    finally:
        gate.set()
        workers.shutdown()
    assert ran == ["last stage", "rerun", "first", "second", "third"]


def test_a_job_that_fails_tells_its_own_future_alone() -> None:
    workers, done = Workers(2), []

    def fail() -> None:
        raise ValueError("no")

    failed, well = workers.submit(fail), workers.submit(lambda: done.append(1))
    with pytest.raises(ValueError, match="no"):
        failed.result(timeout=10)
    well.result(timeout=10)
    workers.shutdown()
    assert done == [1]


def test_a_cancelled_job_never_runs_and_those_behind_it_do() -> None:
    workers, gate, ran = Workers(1), threading.Event(), []
    try:
        workers.submit(lambda: (gate.wait(), None)[1])
        doomed, kept = (workers.submit(lambda name=name: ran.append(name)) for name in ("doomed", "kept"))
        assert doomed.cancel()
        gate.set()
        kept.result(timeout=10)
    finally:
        gate.set()
        workers.shutdown()
    assert ran == ["kept"]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_each_thread_is_pinned_to_its_own_cpu() -> None:
    cpus = sorted(os.sched_getaffinity(0))[:2]
    workers, held, seen = Workers(len(cpus), cpus), threading.Barrier(len(cpus)), []

    def look() -> None:
        held.wait(timeout=10)
        seen.append(os.sched_getaffinity(0))

    for future in [workers.submit(look) for _ in cpus]:
        future.result(timeout=10)
    workers.shutdown()
    assert sorted(map(sorted, seen)) == [[cpu] for cpu in cpus]
