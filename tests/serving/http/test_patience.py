"""A client that keeps the server waiting is let go of, in every part of a request."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from tests.serving.http.conftest import Serve
from tests.serving.http.raw import connected, next_status, request, rest, statuses

GOOD = request(b'{"inputs": "good film"}')


@pytest.mark.parametrize("begun", [b"", b"P", b"POST /predict HTTP/1.1\r\nHost: x\r\n", GOOD[:-25]])
def test_a_head_that_does_not_come(serve: Serve, begun: bytes) -> None:
    server = serve(head_timeout=0.3)
    with connected(server) as connection:
        connection.sendall(begun)
        assert statuses(rest(connection)) == [408]
    assert server.predict("good").status_code == 200


def test_a_head_that_comes_byte_by_byte(serve: Serve) -> None:
    server = serve(head_timeout=0.3)
    ended = threading.Event()
    with connected(server) as connection:

        def drip() -> None:
            connection.sendall(b"POST /predict HTTP/1.1\r\n")
            try:
                while not ended.wait(0.05):
                    connection.sendall(b"a: b\r\n")
            except OSError:
                pass  # the server has closed

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert statuses(rest(connection)) in ([408], [])  # none where the last bytes met a closed socket
        finally:
            ended.set()
            thread.join()


def test_the_head_of_a_further_request(serve: Serve) -> None:
    server = serve(head_timeout=0.3)
    with connected(server) as connection:
        connection.sendall(GOOD)
        assert next_status(connection) == 200
        time.sleep(0.5)  # keeping a connection open between requests is no offence
        connection.sendall(GOOD)
        assert next_status(connection) == 200
        connection.sendall(b"POST /pre")
        assert statuses(rest(connection)) == [408]


def test_a_body_in_time_is_not_held_to_the_heads_limit(serve: Serve) -> None:
    server = serve(head_timeout=0.3)
    with connected(server) as connection:
        connection.sendall(GOOD[:-3])
        time.sleep(0.6)
        connection.sendall(GOOD[-3:])
        assert next_status(connection) == 200


def test_a_client_that_does_not_read(serve: Serve) -> None:
    server = serve(body_timeout=0.3)
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 4_000
    with connected(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(0.5)
        try:
            connection.sendall(asked)
        except OSError:
            pass  # the server takes no more while nobody reads
        time.sleep(1.5)
        connection.settimeout(20)
        assert len(statuses(rest(connection))) < 4_000
    assert server.predict("good").status_code == 200
