"""What a client is told where there is no answer: the right status, one line, and never a traceback."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from onnxpress.errors import RunError
from tests.serving.http.conftest import SECONDS, Loopback, Serve

JSON = {"Content-Type": "application/json"}


def told(answer: httpx.Response, status: int, *words: str) -> None:
    body = answer.json()
    assert answer.status_code == status, body
    assert set(body) == {"error", "error_type"} and "\n" not in body["error"] and "Traceback" not in body["error"]
    assert all(word in body["error"] for word in words), body


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"inputs": "a"', b"inputs=a", b"\xff\xfe{", b"[" * 200_000, b'{"inputs": NaN}', b'{"a": 1e}']
)
def test_what_is_no_json_is_400(server: Loopback, body: bytes) -> None:
    for path in ("/predict", "/rerank", "/"):
        told(server.client.post(path, content=body, headers=JSON), 400, "not JSON")


@pytest.mark.parametrize(
    ("inputs", "word"),
    [
        (5, "inputs"),
        (None, "inputs"),
        ({"text": "a"}, "inputs"),
        (["a", "b", "c"], "3"),
        (["a", 5], "[1]"),
        ([["a"], [5]], "[1]"),
        ([["a"], ["a", "b", "c"]], "text 1"),
        ([["a"], []], "text 1"),
        ([["a"], "b"], "text 1"),
        (["a", ["b"]], "inputs"),
        ([["a"], ["x" * 100_001]], "text 1"),
        ([["a"], ["b"], ["c", "\ud800"]], "text 2"),
        ("\ud800", "text 0"),
    ],
)
def test_a_bad_text_is_422_and_named(server: Loopback, inputs: object, word: str) -> None:
    body = json.dumps({"inputs": inputs}).encode()
    told(server.client.post("/predict", content=body, headers=JSON), 422, word)


@pytest.mark.parametrize(
    "content",
    [
        [],
        "text",
        {},
        {"input": "a"},
        {"inputs": "a", "truncate": 1},
        {"inputs": "a", "raw_scores": "yes"},
        {"inputs": "a", "truncation_direction": "up"},
        {"inputs": "a", "parameters": {"top_k": 0}},
        {"inputs": "a", "parameters": {"candidate_labels": ["x"]}},
        {"inputs": "a", "parameters": {"function_to_apply": "tanh"}},
    ],
)
def test_a_wrong_field_is_422(server: Loopback, content: object) -> None:
    told(server.client.post("/predict", json=content), 422)


def test_nothing_to_answer_is_400(server: Loopback) -> None:
    told(server.predict([]), 400, "empty")
    told(server.client.post("/rerank", json={"query": "a", "texts": []}), 400, "empty")


def test_other_media_types_are_415(server: Loopback) -> None:
    body = b'{"inputs": "good"}'
    told(server.client.post("/predict", content=body, headers={"Content-Type": "text/plain"}), 415, "text/plain")
    told(server.client.post("/predict", content=body, headers=JSON | {"Content-Encoding": "gzip"}), 415, "gzip")
    assert server.client.post("/predict", content=body).status_code == 200


def test_too_large_a_body_is_413(serve: Serve) -> None:
    server = serve(max_body=1_000)
    body = json.dumps({"inputs": "good " * 5_000}).encode()
    told(server.client.post("/predict", content=body, headers=JSON), 413, "1,000")
    told(server.client.post("/predict", content=iter([body]), headers=JSON), 413, "1,000")  # of unknown length
    told(server.client.post("/predict", content=body * 200, headers=JSON), 413, "1,000")
    assert server.predict("good").status_code == 200


def test_too_many_texts_are_422(serve: Serve) -> None:
    server = serve(max_texts=3)
    told(server.predict([["good"]] * 4), 422, "4", "3")
    assert server.predict([["good"]] * 3).status_code == 200


def hold(server: Loopback, pool: ThreadPoolExecutor) -> object:
    """A request whose run is held."""
    gate = server.gates[next(iter(server.gates))]
    gate.shut()
    first = pool.submit(server.predict, "dull")
    gate.wait_for_a_run()
    return first


def test_a_full_queue_is_429_with_retry_after(serve: Serve) -> None:
    server = serve(max_requests=2, max_texts=2)
    with ThreadPoolExecutor() as pool:
        first = hold(server, pool)
        second = pool.submit(server.predict, [["good"], ["bad"]])
        until = time.monotonic() + SECONDS
        while 'waiting_requests{model="reviews"} 2' not in server.client.get("/metrics").text:
            assert time.monotonic() < until
        refused = server.predict("good")
        told(refused, 429, "limit is 2")
        assert int(refused.headers["Retry-After"]) >= 1 and refused.json()["error_type"] == "Overloaded"
        assert server.client.get("/health").status_code == 200
        next(iter(server.gates.values())).open()
        assert first.result().status_code == second.result().status_code == 200  # type: ignore[attr-defined]


def test_no_answer_in_time_is_504(serve: Serve) -> None:
    server = serve(timeout=0.2)
    with ThreadPoolExecutor() as pool:
        first = hold(server, pool)
        told(server.predict("good"), 504, "0.2 s")
        asked = {"X-Request-Timeout": "0.05"}
        told(server.client.post("/predict", json={"inputs": "good"}, headers=asked), 504, "0.05 s")
        later = {"X-Request-Timeout": "1000"}  # no more than the server allows
        told(server.client.post("/predict", json={"inputs": "good"}, headers=later), 504, "0.2 s")
        next(iter(server.gates.values())).open()
        assert first.result().status_code == 504  # type: ignore[attr-defined]


@pytest.mark.parametrize("seconds", ["soon", "0", "-1", "nan", "inf", "1e-9", "5e-324", ""])
def test_a_deadline_that_is_none_is_400(server: Loopback, seconds: str) -> None:
    headers = {"X-Request-Timeout": seconds}
    told(server.client.post("/predict", json={"inputs": "good"}, headers=headers), 400, "X-Request-Timeout")


def test_a_body_that_does_not_come_is_408(serve: Serve) -> None:
    address = urlsplit(serve(body_timeout=0.2).url)
    with socket.create_connection((address.hostname, address.port), timeout=SECONDS) as connection:
        head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        connection.sendall(head.encode())
        answer = b""
        while part := connection.recv(65_536):  # the server closes
            answer += part
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_client_that_leaves_takes_its_request_along(serve: Serve) -> None:
    server = serve()
    with ThreadPoolExecutor() as pool:
        first = hold(server, pool)
        with pytest.raises(httpx.ReadTimeout):
            server.client.post("/predict", json={"inputs": "good"}, timeout=0.3)
        until = time.monotonic() + SECONDS
        while 'onnxpress_requests_total{model="reviews",outcome="cancelled"} 1.0' not in (
            server.client.get("/metrics").text
        ):
            assert time.monotonic() < until
        next(iter(server.gates.values())).open()
        assert first.result().status_code == 200  # type: ignore[attr-defined]


def test_a_run_that_fails_is_424_and_what_nobody_foresaw_500(serve: Serve) -> None:
    server = serve()
    gate = next(iter(server.gates.values()))
    gate.error = RunError(0, "out of memory")
    told(server.predict("good"), 424, "out of memory")
    gate.error = ZeroDivisionError("secret")
    answer = server.predict("good")
    told(answer, 500, "ZeroDivisionError")
    assert "secret" not in answer.text
    gate.error = None
    assert server.predict("good").status_code == 200


@pytest.mark.parametrize("given", [None, "Bearer", "Bearer other", "Basic letmein", "letmein", "Bearer letmein2"])
def test_without_the_token_there_is_no_answer(serve: Serve, given: str | None) -> None:
    server = serve(token="letmein")
    headers = {} if given is None else {"Authorization": given}
    for method, path in (("POST", "/predict"), ("POST", "/"), ("GET", "/info"), ("GET", "/models")):
        refused = server.client.request(method, path, headers=headers)
        told(refused, 401, "Bearer")
        assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert server.client.get("/health", headers=headers).status_code == 200
    right = {"Authorization": "Bearer letmein"}
    assert server.client.post("/predict", json={"inputs": "good"}, headers=right).status_code == 200
    assert server.client.get("/openapi.json").json()["security"] == [{"token": []}]
