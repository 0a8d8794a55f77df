"""The page at `/`: it stands alone, and in a browser it classifies and explains."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import onnxpress
from onnxpress.serving.http.try_page import try_page
from tests.browser import SCHEMES, WIDTHS, show
from tests.serving.http.conftest import SECONDS, Loopback, Serve


@pytest.fixture(autouse=True)
def _shap_is_imported() -> None:
    pytest.importorskip("shap")  # here, where its own warnings are no errors


def until(happens: Callable[[], bool]) -> None:
    limit = time.monotonic() + SECONDS
    while not happens():
        assert time.monotonic() < limit, "it does not happen"
        time.sleep(0.02)


def test_the_page_stands_alone(server: Loopback) -> None:
    answer = server.client.get("/")
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html")
    assert re.findall(r'(?:src|href)="([^"#]+)"', answer.text) == ["data:,", "docs", "metrics"]
    assert not re.search(r"@import|url\(|\$[A-Z]", answer.text)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_names_are_escaped_and_one_is_not_asked_for() -> None:
    assert "<option>&lt;b&gt;</option>" in try_page(["<b>", "a"], secured=False).html
    assert '<p hidden><label for="model">' in try_page(["a"], secured=False).html
    assert '<p ><label for="model">' in try_page(["a", "b"], secured=True).html
    assert '<p hidden><label for="token">' in try_page(["a"], secured=False).html


def test_explanations_over_http(server: Loopback) -> None:
    found = server.client.post("/explain", json={"inputs": "a good film"}).json()
    best = server.predict("a good film").json()[0]
    assert found["label"] == best["label"] and found["score"] == pytest.approx(best["score"], abs=1e-5)
    assert [word["text"] for word in found["words"]] == ["a", "good", "film"] and found["words"][1]["start"] == 2
    other = server.client.post("/explain", json={"inputs": ["good", "bad film"], "label": "negative"}).json()
    assert other["label"] == "negative" and [word["part"] for word in other["words"]] == [0, 1, 1]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (r'{"inputs": [["a"], ["b"]]}', 422),
        (r'{"inputs": []}', 400),
        (r'{"inputs": "a", "label": "none"}', 422),
        (r'{"inputs": "\ud800"}', 422),
        ("{}", 422),
    ],
)
def test_what_cannot_be_explained(server: Loopback, body: str, status: int) -> None:
    answer = server.client.post("/explain", content=body)
    assert answer.status_code == status and set(answer.json()) == {"error", "error_type"}


def test_one_is_explained_at_a_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    explain, began, go_on = onnxpress.Classifier.explain, threading.Event(), threading.Event()

    def held(*arguments: Any, **settings: Any) -> Any:
        began.set()
        assert go_on.wait(SECONDS)
        return explain(*arguments, **settings)

    monkeypatch.setattr(onnxpress.Classifier, "explain", held)
    client, body = serve().client, {"inputs": "good"}
    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, "/explain", json=body, headers={"X-Request-Timeout": "1"})
        assert began.wait(SECONDS)
        refused = client.post("/explain", json=body)
        assert refused.status_code == 429 and refused.headers["Retry-After"]
        assert first.result(SECONDS).status_code == 504  # and the thread goes on
        assert client.post("/explain", json=body).status_code == 429
        go_on.set()
        until(lambda: client.post("/explain", json=body).status_code == 200)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_browser_classifies_and_explains(browser: Any, server: Loopback, width: int, scheme: str) -> None:
    show(browser, server.url, width=width, scheme=scheme)
    script = browser.execute_script
    script("document.getElementById('text').value = 'a 👩 good film'")
    script("document.getElementById('classify').click()")
    until(lambda: script("return document.querySelectorAll('#labels tbody tr').length") == 2)
    names = script("return [...document.querySelectorAll('#labels th')].map(e => e.textContent)")
    assert names == [one["label"] for one in server.predict("a 👩 good film").json()]
    bars = script("return [...document.querySelectorAll('.bar')].map(e => e.getBoundingClientRect().width)")
    assert bars[0] > bars[1] > 0
    assert re.fullmatch(
        r"Answered in \d+\.\d ms, there and back", script("return document.querySelector('caption').textContent")
    )
    script("document.getElementById('explain').click()")
    until(
        lambda: script("return !document.getElementById('why').hidden && document.querySelectorAll('mark').length") == 4
    )
    assert script("return document.querySelector('#why .text').textContent") == "a 👩 good film"
    assert script("return document.querySelectorAll('mark.for, mark.against').length") > 0
    assert script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []


def test_a_browser_shows_what_is_wrong_and_takes_a_token(browser: Any, serve: Serve, artifact: Path) -> None:
    server = serve({"a": artifact, "b": artifact}, token="letmein")
    show(browser, server.url, width=1280, scheme="light")
    script = browser.execute_script
    script("document.getElementById('model').value = 'b'; document.getElementById('classify').click()")
    until(lambda: "Authorization" in script("return document.getElementById('error').textContent"))
    assert not script("return document.getElementById('error').hidden")
    script("document.getElementById('token').value = 'letmein'; document.getElementById('classify').click()")
    until(lambda: script("return document.querySelectorAll('#labels tbody tr').length") == 2)
    assert script("return document.getElementById('error').hidden")


def test_a_browser_shows_entities(browser: Any, serve: Serve, token_artifact: Path) -> None:
    server = serve({"tagger": token_artifact})
    text = "good film ada bad plot"
    show(browser, server.url, width=390, scheme="light")
    browser.execute_script(f"document.getElementById('text').value = '{text}'")
    browser.execute_script("document.getElementById('classify').click()")
    until(lambda: not browser.execute_script("return document.getElementById('labels').hidden"))
    names = browser.execute_script("return [...document.querySelectorAll('#labels th')].map(e => e.textContent)")
    assert names == [f"{one['word']}: {one['entity_group']}" for one in server.predict(text).json()]
    answer = server.client.post("/explain", json={"inputs": text})
    assert answer.status_code == 424 and "labels tokens" in answer.json()["error"]
