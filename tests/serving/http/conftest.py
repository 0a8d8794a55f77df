"""A server on loopback, in a thread of the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import onnxpress
from onnxpress.serving.http import server as served
from onnxpress.serving.http.limits import Limits
from tests.serving.conftest import Gate

SECONDS = 30.0


class Loopback:
    """A server that runs.

    Attributes:
        url: Where.
        client: Asks it.
        gates: Before the runs of each artifact, by the name of its directory.
    """

    def __init__(self, url: str, gates: dict[str, Gate], stop: Callable[[], None]) -> None:
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=SECONDS, trust_env=False)
        self.gates = gates
        self.stop = stop

    def predict(self, inputs: object, **fields: object) -> Any:
        return self.client.post("/predict", json={"inputs": inputs, **fields})


Serve = Callable[..., Loopback]


@contextmanager
def serving(artifacts: dict[str, Path], limits: Limits, token: str | None, close_seconds: int) -> Iterator[Loopback]:
    gates: dict[str, Gate] = {}
    servers: list[served._Server] = []
    up = threading.Event()
    urls: list[str] = []

    def load(path: Path) -> onnxpress.Classifier:
        classifier = onnxpress.load(path, threads=1, spinning=False)
        gates[path.name] = Gate(classifier)
        return classifier

    class Noted(served._Server):
        async def startup(self, sockets: Any = None) -> None:
            servers.append(self)
            await super().startup(sockets)

    def on_ready(url: str) -> None:
        urls.append(url)
        up.set()

    def main() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(served, "_Server", Noted)
            served.serve(
                served.Serving(artifacts=artifacts, load=load, limits=limits, token=token, close_seconds=close_seconds),
                listening=served.listen("127.0.0.1", 0),
                on_ready=on_ready,
            )

    thread = threading.Thread(target=main, daemon=True)
    thread.start()
    assert up.wait(SECONDS), "no server came up"
    loopback = Loopback(urls[0], gates, lambda: setattr(servers[0], "should_exit", True))
    try:
        yield loopback
    finally:
        for gate in gates.values():
            gate.open()
        loopback.client.close()
        loopback.stop()
        thread.join(SECONDS)
        assert not thread.is_alive(), "the server did not end"


@pytest.fixture
def serve(artifact: Path) -> Iterator[Serve]:
    """Starts a server: keyword arguments go to its limits, but `artifacts`, `token` and `close_seconds`."""
    with ExitStack() as held:

        def start(
            artifacts: dict[str, Path] | None = None,
            token: str | None = None,
            close_seconds: int = 20,
            **limits: Any,
        ) -> Loopback:
            return held.enter_context(
                serving(artifacts or {"reviews": artifact}, Limits(**limits), token, close_seconds)
            )

        yield start


@pytest.fixture(scope="package")
def server(artifact: Path) -> Iterator[Loopback]:
    """One with the limits of its defaults, which tests share that hold no run of it."""
    with serving({"reviews": artifact}, Limits(), None, 20) as loopback:
        yield loopback
