"""A system in a process of its own, from the outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

import onnxpress_bench
from onnxpress.errors import CheckFailedError
from onnxpress_bench.systems.spec import SystemSpec, Text
from onnxpress_bench.worker import Reply, Request, Start

__all__ = ["QUIET", "Python", "SystemFailedError", "Worker", "this_python", "worker_sources"]


QUIET: Final = {
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NNCF_CI": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "SCARF_NO_ANALYTICS": "true",
}
"""What keeps libraries from telling anyone of their use; set in every process of the benchmark unless it is set."""


class SystemFailedError(CheckFailedError):
    """A system under test failed."""

    def __init__(self, system: str, reason: str) -> None:
        super().__init__(system, reason)
        self.system, self.reason = system, reason

    def __str__(self) -> str:
        return f"{self.system} failed: {self.reason}"


class Python(msgspec.Struct, frozen=True, kw_only=True):
    """An interpreter to run a worker with.

    Attributes:
        executable: Its path.
        sources: A folder with this package, for an environment that lacks it; empty for one that has it.
    """

    executable: str
    sources: str = ""


def this_python() -> Python:
    """The interpreter that runs this."""
    return Python(executable=sys.executable)


@contextmanager
def worker_sources() -> Iterator[str]:
    """A folder that holds this package and nothing else, for interpreters of other environments."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(onnxpress_bench.__file__).parent
        shutil.copytree(package, Path(folder) / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        yield folder


def _environment(python: Python) -> dict[str, str]:
    return QUIET | dict(os.environ) | ({"PYTHONPATH": python.sources} if python.sources else {})


class Worker:
    """A process that answers requests; with a system, started and warm once the constructor returns."""

    def __init__(self, name: str, python: Python, start: tuple[SystemSpec, Sequence[Text]] | None = None) -> None:
        """Start the process, and the system `start` in it with the texts that it will be asked.

        Raises:
            SystemFailedError: The system cannot be loaded.
        """
        self._name = name
        self._words = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [python.executable, "-m", "onnxpress_bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=_environment(python),
        )
        if start is not None:
            try:
                self.ask(Start(start[0], list(start[1])))
            except BaseException:
                self.close()
                raise

    def ask(self, request: Request) -> Reply:
        """Send `request`, and wait for the answer. Raises SystemFailedError when there is none, or one of failure."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(msgspec.json.encode(request) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its end shows in the reply
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise SystemFailedError(self._name, f"its process ended with status {status}{self._last_words()}")
        reply = msgspec.json.decode(line, type=Reply)
        if reply.error:
            raise SystemFailedError(self._name, reply.error)
        return reply

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._words.close()

    def _last_words(self) -> str:
        self._words.seek(0)
        lines = self._words.read().decode("utf-8", "replace").strip().splitlines()
        return f" ({lines[-1]})." if lines else "."

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
