"""Bytes to a server and back, below what an HTTP client would send."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.serving.http.conftest import SECONDS, Loopback

JSON_HEAD = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def request(body: bytes) -> bytes:
    """A whole one."""
    return (JSON_HEAD % len(body)).encode() + body


@contextmanager
def connected(server: Loopback) -> Iterator[socket.socket]:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=SECONDS) as connection:
        yield connection


def rest(connection: socket.socket) -> bytes:
    """What comes until the server closes; the socket's timeout is the test's failure."""
    answer = b""
    try:
        while part := connection.recv(65_536):
            answer += part
    except ConnectionResetError:
        pass
    return answer


def statuses(answer: bytes) -> list[int]:
    """Of the responses in `answer`."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def next_status(connection: socket.socket) -> int:
    """Of the next response; the rest of the one before may come first."""
    answer = b""
    while not (found := statuses(answer)):
        part = connection.recv(65_536)
        assert part, "the server has closed"
        answer += part
    return found[0]


def sent(server: Loopback, content: bytes, *, half_close: bool = True) -> list[int]:
    """The statuses that `content` is answered by, until the server closes."""
    with connected(server) as connection:
        try:
            connection.sendall(content)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass  # refused before all of it was sent
        return statuses(rest(connection))
