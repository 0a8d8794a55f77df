"""How a server ends."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import onnxpress
from onnxpress.artifacts.artifact import open_artifact
from onnxpress.serving.http.app import make_app
from onnxpress.serving.http.limits import Limits
from onnxpress.serving.http.models import Model
from tests.serving.http.conftest import SECONDS, Loopback, Serve


def until_refused(server: Loopback) -> None:
    """Until nothing listens there any more."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        try:
            httpx.get(f"{server.url}/health", trust_env=False)
        except httpx.TransportError:
            return
        time.sleep(0.02)
    raise AssertionError("it still accepts")


def test_what_waits_is_answered_and_nothing_more_accepted(serve: Serve) -> None:
    server = serve()
    gate = server.gates["artifact"]
    gate.shut()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(server.predict, "dull")
        gate.wait_for_a_run()
        second = pool.submit(server.predict, "good")
        while server.gates["artifact"] and 'waiting_requests{model="reviews"} 1.0' not in metrics(server):
            time.sleep(0.01)
        server.stop()
        until_refused(server)
        gate.open()
        assert first.result(SECONDS).status_code == second.result(SECONDS).status_code == 200


def test_what_waits_too_long_is_told(serve: Serve) -> None:
    server = serve(close_seconds=0)
    gate = server.gates["artifact"]
    gate.shut()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(server.predict, "dull")
        gate.wait_for_a_run()
        second = pool.submit(server.predict, "good")
        while 'waiting_requests{model="reviews"} 1.0' not in metrics(server):
            time.sleep(0.01)
        server.stop()
        refused = second.result(SECONDS)
        assert refused.status_code == 503 and "shutting down" in refused.json()["error"]
        gate.open()
        assert first.result(SECONDS).status_code == 200


def metrics(server: Loopback) -> str:
    return httpx.get(f"{server.url}/metrics", trust_env=False).text


@pytest.mark.parametrize("ready", [True, False])
def test_readiness_is_not_liveness(classifier: onnxpress.Classifier, artifact: object, ready: bool) -> None:
    async def main() -> list[int]:
        async with onnxpress.AsyncClassifier(classifier) as service:
            manifest = open_artifact(artifact).manifest  # type: ignore[arg-type]
            model = Model(name="reviews", manifest=manifest, classifier=classifier, service=service)
            app = make_app({"reviews": model}, Limits(), is_ready=lambda: ready)
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return [(await client.get(path)).status_code for path in ("/health", "/ready")]

    assert asyncio.run(asyncio.wait_for(main(), SECONDS)) == [200, 200 if ready else 503]
