"""Inside other people's processes: forked, spawned, pickled, pinned, quiet."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import onnxpress

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has it")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_in_a_forked_process_it_says_so_and_does_not_hang(artifact: Path) -> None:
    """The child leaves as a script does, freeing everything: a session of ONNX Runtime would wait for ever."""
    script = f"""
import os, sys, onnxpress
classifier = onnxpress.load({str(artifact)!r}, threads=2)
classifier("good")
child = os.fork()
if child == 0:
    try:
        classifier("good")
    except onnxpress.ForkedError as error:
        print(error, flush=True)
        sys.exit(7 if (error.loaded_in, error.used_in) == (os.getppid(), os.getpid()) else 8)
    sys.exit(9)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 7, done.stderr
    assert "forked from it. Load it after the fork" in done.stdout


def test_it_is_pickled_by_its_path(artifact: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(artifact.parent)
    with onnxpress.load(artifact.name, optimize_for="throughput", threads=2, long_text="windows") as classifier:
        pickled = pickle.dumps(classifier)
        wanted = classifier.logits(texts[:20])
    monkeypatch.chdir("/")
    with pickle.loads(pickled) as again:
        assert again.settings == classifier.settings
        assert np.array_equal(again.logits(texts[:20]), wanted)


def test_spawned_processes_take_it_along(artifact: Path, texts: list[str]) -> None:
    with (
        onnxpress.load(artifact, threads=1) as classifier,
        ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool,
    ):
        answers = list(pool.map(_labels, [classifier] * 3, [texts[:5], texts[5:10], texts[10:15]]))
        assert [label for part in answers for label in part] == [
            prediction.label for prediction in classifier(texts[:15])
        ]


def _labels(classifier: onnxpress.Classifier, texts: list[str]) -> list[str]:
    return [prediction.label for prediction in classifier(texts)]


def test_32_threads_get_the_answers_of_one(artifact: Path, texts: list[str]) -> None:
    with onnxpress.load(artifact, threads=1, spinning=False) as classifier:
        wanted = classifier.logits(texts)
        differences: list[float] = []

        def call(first: int) -> None:
            for number in range(first, first + 1_000):
                place = number % len(texts)
                differences.append(float(np.abs(classifier.logits([texts[place]])[0] - wanted[place]).max()))

        threads = [threading.Thread(target=call, args=(7 * number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(differences) == 32_000
    assert max(differences) < 5e-6  # the same kernels on batches of other sizes


@LINUX
@pytest.mark.parametrize("optimize_for", ["latency", "throughput"])
def test_threads_are_pinned(artifact: Path, optimize_for: str) -> None:
    cpus = sorted(os.sched_getaffinity(0))[:2]
    before = set(os.listdir("/proc/self/task"))
    with onnxpress.load(artifact, threads=len(cpus), affinity=cpus, optimize_for=optimize_for) as classifier:  # type: ignore[arg-type]
        classifier([f"good {'film ' * length}" for length in range(50)])
        made = set(os.listdir("/proc/self/task")) - before
        pinned = [os.sched_getaffinity(int(task)) for task in made]
        assert os.sched_getaffinity(0) >= set(cpus), "the caller's own thread stays where it was"
    wanted = cpus[1:] if optimize_for == "latency" else cpus
    assert [{cpu} in pinned for cpu in wanted] == [True] * len(wanted)


@LINUX
@pytest.mark.parametrize(
    ("affinity", "says"),
    [([0, 0], "a CPU of its own"), ([0], "for each of 2 threads"), ([0, 9_999], "CPU 9999, which"), ([], "numbers")],
)
def test_affinity_that_cannot_be(artifact: Path, affinity: list[int], says: str) -> None:
    with pytest.raises(onnxpress.ConfigError, match=says):
        onnxpress.load(artifact, threads=2, affinity=affinity)


def test_nothing_is_printed_and_no_environment_variable_changed(artifact: Path) -> None:
    script = f"""
import os
before = dict(os.environ)
import onnxpress
with onnxpress.load({str(artifact)!r}) as classifier:
    classifier(["good"] * 10)
assert dict(os.environ) == before
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
