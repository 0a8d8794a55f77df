"""Several workers on one port: they answer, count together, are replaced when they die, and end together."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.test_serve import COMMAND, refused

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers by /proc")

SECONDS = 90.0


@contextmanager
def serving(artifact: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Two workers, and their URL."""
    command = [*COMMAND, f"reviews={artifact}", "--port", "0", "--workers", "2", "--device", "cpu"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.fullmatch(r"serving reviews on (http://127\.0\.0\.1:\d+), 2 workers\n", line)
            assert found, line
            yield process, found[1]
        finally:
            process.kill()


def until(happens: Callable[[], bool]) -> None:
    limit = time.monotonic() + SECONDS
    while not happens():
        assert time.monotonic() < limit, "it does not happen"
        time.sleep(0.1)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Their process ids: children that answer, not the resource tracker."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def counted(url: str) -> tuple[int, dict[str, float]]:
    """How many workers told their counts, and the answers of each."""
    text = httpx.get(f"{url}/metrics", timeout=30, trust_env=False).text
    (workers,) = re.findall(r"^onnxpress_workers (\d+)", text, re.MULTILINE)
    answers = re.findall(
        r'^onnxpress_requests_total\{model="reviews",outcome="answered",worker="(\d)"\} ([\d.]+)', text, re.MULTILINE
    )
    return int(workers), {worker: float(count) for worker, count in answers}


def ask(url: str) -> int:
    """On a connection of its own."""
    return httpx.post(f"{url}/predict", json={"inputs": "good film"}, timeout=30, trust_env=False).status_code


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_they_answer_count_together_and_are_replaced(artifact: Path) -> None:
    with serving(artifact) as (process, url):
        assert [ask(url) for _ in range(30)] == [200] * 30
        workers, answers = counted(url)
        assert workers == 2 and set(answers) == {"0", "1"} and sum(answers.values()) == 30
        first, second = workers_of(process)
        os.kill(first, signal.SIGKILL)
        until(lambda: len(workers_of(process)) == 2 and first not in workers_of(process) and counted(url)[0] == 2)
        assert second in workers_of(process) and [ask(url) for _ in range(10)] == [200] * 10
        ended = workers_of(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        assert process.stderr is not None
        (line,) = process.stderr.read().splitlines()
        assert re.fullmatch(r"worker \d ended \(exit status -9\); another takes its place in 1 s", line)
        assert not any(map(is_alive, ended))


def test_they_end_with_the_one_that_looks_after_them(artifact: Path) -> None:
    with serving(artifact) as (process, url):
        ended = workers_of(process)
        assert ask(url) == 200 and len(ended) == 2
        process.kill()
        until(lambda: not any(map(is_alive, ended)))


def test_an_artifact_that_cannot_be_loaded_is_told_once(artifact: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in artifact.iterdir():
        (broken / path.name).write_bytes(path.read_bytes() if path.name != "tokenizer.json" else b"{}")
    line = refused(str(broken), "--port", "0", "--workers", "2", "--device", "cpu")
    assert "tokenizer.json" in line and "has changed since the export" in line


@pytest.mark.parametrize("workers", ["0", "-1", "1000"])
def test_too_few_or_too_many(artifact: Path, workers: str) -> None:
    assert "workers must be" in refused(str(artifact), "--port", "0", "--workers", workers)
