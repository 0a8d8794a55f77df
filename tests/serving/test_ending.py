"""The end of a program with services and classifiers that nobody closed: its own exit status, and no abort."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from onnxpress.errors import ClosedError
from onnxpress.sessions.ending import NativeCalls

LOAD = """
import asyncio, atexit, sys, threading, time
import onnxpress
from onnxpress import AsyncClassifier, ThreadedClassifier

texts = ["good film " * 40] * 3
classifier = onnxpress.load(sys.argv[1], threads=2, workers=int(sys.argv[2]), spinning=False)


def in_daemons(work):
    for _ in range(3):
        threading.Thread(target=work, daemon=True).start()
    time.sleep(0.2)


def forever(work):
    def loop():
        while True:
            work()
    return loop
"""

LIVES = {
    "threaded": """
service = ThreadedClassifier(classifier)
waiting = [service.submit(texts[0]) for _ in range(500)]
waiting[0].result()
""",
    "asynchronous": """
service = AsyncClassifier(classifier)


async def main():
    begun = [asyncio.create_task(service.classify(texts[0])) for _ in range(500)]
    await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)

asyncio.run(main())
""",
    "asynchronous, tokenizing": """
service = AsyncClassifier(classifier, max_requests=10_000)


async def main():
    begun = [asyncio.create_task(service.classify("good film " * 5_000)) for _ in range(50)]
    await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)

asyncio.run(main())
""",
    "callers that are daemons": """
service = ThreadedClassifier(classifier)
in_daemons(forever(lambda: service.classify(texts)))
""",
    "a loop in a daemon": """
service = AsyncClassifier(classifier)


async def main():
    while True:
        await asyncio.gather(*(service.classify(text) for text in texts))

in_daemons(lambda: asyncio.run(main()))
""",
    "a classifier in daemons": """
in_daemons(forever(lambda: [classifier(text) for text in texts]))
""",
    "a tokenizer in daemons": """
in_daemons(forever(lambda: classifier.count_tokens(["good film " * 5_000])))
""",
    "loading in daemons": """
in_daemons(forever(lambda: onnxpress.load(sys.argv[1])))
""",
    "a classifier alone": """
classifier(texts)
""",
}

ENDS = {
    "": 0,
    "sys.exit(3)": 3,
    "sys.exit('no')": 1,
    "raise ValueError('its own')": 1,
}


def run(artifact: Path, script: str, *, workers: int = 1) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LOAD + script, str(artifact), str(workers)],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("name", LIVES)
def test_the_programs_own_status_survives(artifact: Path, name: str) -> None:
    place = list(LIVES).index(name)
    for number in (place, place + 1):  # each life has two of the ends, each end several lives
        end, status = list(ENDS.items())[number % len(ENDS)]
        done = run(artifact, LIVES[name] + end, workers=1 + number % 2)
        assert done.returncode == status, (end, done.stderr)
        said = {"sys.exit('no')": "no", "raise ValueError('its own')": "ValueError: its own"}.get(end, "")
        assert done.stderr.rstrip().endswith(said) and (said or not done.stderr), done.stderr
        assert done.stderr.count("Traceback") == said.startswith("ValueError")


def test_what_waits_is_told_as_the_program_ends(artifact: Path) -> None:
    """A handler that was registered before runs after: whoever waits there has an answer, an error, and no hang."""
    script = f"""
import atexit

kept = {{}}


@atexit.register
def last():
    ended = [future.exception(20) for future in kept["waiting"]]
    assert all(error is None or type(error).__name__ == "ClosedError" for error in ended), ended
    assert any(ended)
    try:
        kept["service"].classify("good")
    except Exception as error:
        print(type(error).__name__, kept["classifier"]("good film").label in ("negative", "positive"))

{LOAD}
{LIVES["threaded"]}
kept.update(service=service, classifier=classifier, waiting=waiting)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(artifact), "1"], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ClosedError True\n", "")


def test_an_exit_handler_may_use_a_service(artifact: Path) -> None:
    done = run(
        artifact,
        """
service = ThreadedClassifier(classifier)
atexit.register(lambda: print(service.classify("good film").label))
""",
    )
    assert done.returncode == 0 and done.stdout.strip() in ("negative", "positive") and not done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_ends_and_is_told(artifact: Path) -> None:
    done = run(
        artifact,
        """
import os

service = ThreadedClassifier(classifier)
service.classify(texts)
if not (child := os.fork()):
    try:
        service.classify(texts)
    except onnxpress.ForkedError:
        service.close()
        sys.exit(5)
    sys.exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), service.classify("good film").label)
""",
    )
    assert done.returncode == 0 and done.stdout.split()[0] == "5", done.stderr


def test_the_end_waits_for_calls_and_lets_none_begin() -> None:
    calls = NativeCalls()
    inside, leave = threading.Event(), threading.Event()

    def call() -> None:
        with calls:
            inside.set()
            leave.wait(20)

    caller = threading.Thread(target=call)
    caller.start()
    inside.wait(20)
    ending = threading.Thread(target=calls.end)
    ending.start()
    while calls._left_to is None:
        pass
    assert ending.is_alive()
    with pytest.raises(ClosedError):
        calls.__enter__()
    leave.set()
    ending.join(20)
    caller.join(20)
    assert not ending.is_alive()
