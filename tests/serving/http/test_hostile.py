"""Requests that no honest client sends end in 4xx or a closed connection: never in 5xx, never in waiting."""

from __future__ import annotations

import random
import subprocess
import venv
from pathlib import Path

import pytest

from tests.serving.http.conftest import Loopback
from tests.serving.http.raw import JSON_HEAD, connected, request, sent

GOOD = request(b'{"inputs": "good film"}')
HEAD = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
HOSTILE = {
    "nothing": b"",
    "zeros": b"\0" * 1_000,
    "tls": bytes.fromhex("16030100c8010000c40303") + b"\x9a" * 200,
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http0.9": b"GET /\r\n",
    "no version": b"POST /predict\r\n\r\n",
    "version 9": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "long path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 1_000_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 50_000 + b"\r\n",
    "header without colon": b"GET / HTTP/1.1\r\nHost: x\r\nrubbish\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "escaped zero": b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "traversal": b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "traversal in a name": b"POST /models/..%2f..%2fetc/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "unknown method": b"BREW /predict HTTP/1.1\r\nHost: x\r\n\r\n",
    "connect": b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "upgrade": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "negative length": (HEAD + "Content-Length: -1\r\n\r\n{}").encode(),
    "length of letters": (HEAD + "Content-Length: many\r\n\r\n{}").encode(),
    "length of 4,000 digits": (HEAD + f"Content-Length: {'9' * 4_000}\r\n\r\n{{}}").encode(),
    "two lengths": (HEAD + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}").encode(),
    "length and chunks": (HEAD + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").encode(),
    "chunks of letters": (HEAD + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n").encode(),
    "chunk of 2**64": (HEAD + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}\r\n").encode(),
    "unknown coding": (HEAD + "Transfer-Encoding: rot13\r\n\r\n{}").encode(),
    "body too short": (JSON_HEAD % 1_000).encode() + b'{"inputs": "go',
    "body too large": (JSON_HEAD % 10**9).encode() + b"[" * 10**6,
    "deep": request(b"[" * 500_000),
    "deep inputs": request(b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "not utf-8": request(b'{"inputs": "\xff\xfe"}'),
    "utf-16": request('{"inputs": "a"}'.encode("utf-16")),
    "mark": request(b"\xef\xbb\xbf" + b'{"inputs": "a"}'),
    "lone surrogate": request(b'{"inputs": "\\ud800"}'),
    "infinity": request(b'{"inputs": Infinity}'),
    "huge number": request(b'{"inputs": 1' + b"0" * 100_000 + b"}"),
    "huge exponent": request(b'{"inputs": "a", "raw_scores": 1e999999}'),
    "same key twice": request(b'{"inputs": 1, "inputs": [1]}'),
    "form": request(b"inputs=a"),
}
LESS_THAN_A_REQUEST = {"nothing", "body too short", "chunk of 2**64"}  # a client that leaves is told nothing


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("half_close", [True, False], ids=["half-closed", "open"])
def test_it_is_refused(server: Loopback, name: str, half_close: bool) -> None:
    if not half_close and name in LESS_THAN_A_REQUEST | {"http0.9", "length of 4,000 digits"}:
        return  # waits for the rest, within the limits of test_patience
    with connected(server) as connection:
        connection.settimeout(20)
        found = sent(server, HOSTILE[name], half_close=half_close)
    assert all(status < 500 for status in found), found
    assert server.predict("good film").status_code == 200


def test_half_of_a_connection_closed_after_a_request(server: Loopback) -> None:
    assert sent(server, GOOD) in ([200], [])  # answered, or let go: never kept waiting


def test_rubbish_behind_a_request(server: Loopback) -> None:
    found = sent(server, GOOD + b"\0\1\2 rubbish\r\n\r\n")
    assert found[:1] in ([200], [400], []) and all(status < 500 for status in found)


def mutated(generator: random.Random) -> bytes:
    """A good request with some bytes changed, dropped, doubled or swapped."""
    content = bytearray(
        generator.choice([GOOD, request(b'{"query": "a", "texts": ["b", "c"]}'), *HOSTILE.values()])[:4_000]
    )
    for _ in range(generator.randint(1, 8)):
        place, length = generator.randrange(len(content) + 1), generator.randint(1, 12)
        match generator.randrange(4):
            case 0:
                content[place : place + length] = generator.randbytes(length)
            case 1:
                del content[place : place + length]
            case 2:
                content[place:place] = content[place : place + length] * generator.randint(1, 20)
            case 3:
                content[place:place] = generator.choice([b"\r\n", b"\r\n\r\n", b"\0", b"{", b'"', b": ", b"9" * 30])
    return bytes(content)


def attack(server: Loopback, requests: int, seed: int) -> None:
    generator = random.Random(seed)
    for _ in range(requests):
        content = mutated(generator)
        found = sent(server, content)
        assert all(status < 500 for status in found), content
    assert server.predict("good film").status_code == 200


def test_300_mutated_requests(server: Loopback) -> None:
    attack(server, 300, seed=1)


@pytest.mark.slow
def test_10_000_mutated_requests(server: Loopback) -> None:
    attack(server, 10_000, seed=2)


@pytest.mark.slow
@pytest.mark.network
def test_schemathesis_finds_nothing(server: Loopback, tmp_path: Path) -> None:
    """It reads the OpenAPI document, in an environment of its own."""
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "schemathesis>=4,<5"], check=True, timeout=600)
    checks = "not_a_server_error,content_type_conformance,status_code_conformance,response_schema_conformance"
    command = [tmp_path / "bin/schemathesis", "run", f"{server.url}/openapi.json", "--checks", checks]
    options = ["--max-examples", "150", "--seed", "1", "--request-timeout", "20"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=900, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6_000:]
    assert server.predict("good film").status_code == 200
