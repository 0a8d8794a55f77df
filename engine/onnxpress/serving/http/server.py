"""A socket, a server on it, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from onnxpress.classifier import Classifier
from onnxpress.errors import ConfigError
from onnxpress.serving.http.app import make_app
from onnxpress.serving.http.exposition import families_of
from onnxpress.serving.http.limits import Limits
from onnxpress.serving.http.link import Link
from onnxpress.serving.http.models import Model, open_models
from onnxpress.serving.http.patience import patient_protocol
from onnxpress.token_classifier import TokenClassifier

__all__ = ["LAST_RUN", "Serving", "listen", "serve", "url_of"]

_BACKLOG: Final = 2_048
_HIGHEST_PORT: Final = 65_535
LAST_RUN: Final = 5
"""Seconds for the run in hand when the time for answers is over."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any that is free. Connections wait on it until it is served.

    Raises:
        ConfigError: The port is in use or out of range, or the host is none of this machine.
    """
    if not 0 <= port <= _HIGHEST_PORT:
        raise ConfigError(f"a port is from 0 to {_HIGHEST_PORT:,}, got {port}")
    opened: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
        if os.name != "nt":  # there it would share the port with who has it
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(_BACKLOG)
    except (OSError, UnicodeError) as error:
        if opened is not None:
            opened.close()
        reason = getattr(error, "strerror", None) or "no such host"
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {reason}. Pass another --port, 0 for a free one, or --host."
        ) from None
    return opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What is served, and how; it goes from process to process.

    Attributes:
        artifacts: Directories by name, at least one.
        load: Makes a classifier of one.
        limits: What is taken on.
        token: What requests must bring; None for nothing.
        close_seconds: How long what waits may still be answered once the server is asked to end.
    """

    artifacts: dict[str, Path]
    load: Callable[[Path], Classifier | TokenClassifier]
    limits: Limits
    token: str | None
    close_seconds: int


def serve(
    serving: Serving, *, listening: socket.socket, on_ready: Callable[[str], None], link: Link | None = None
) -> None:
    """Load the artifacts and answer on the socket `listening` until SIGTERM or SIGINT.

    Then nothing more is accepted, what waits is answered for at most `close_seconds`, and this returns. A second SIGINT
    does not wait.

    Args:
        serving: What, and how.
        listening: What `listen` gave.
        on_ready: Told the server's URL, once it answers.
        link: To the supervisor, where this is one of several workers; it ends with its supervisor.

    Raises:
        ArtifactError: An artifact cannot be loaded; and what else `load` raises.
    """
    with listening, ExitStack() as held:
        models = open_models(serving.artifacts, serving.load, serving.limits, held)
        app = make_app(models, serving.limits, token=serving.token, is_ready=lambda: not server.should_exit, link=link)
        config = uvicorn.Config(
            app,
            http=patient_protocol(serving.limits),
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="error",  # not a line for each request that is not HTTP
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=serving.close_seconds + LAST_RUN,
        )
        url = url_of(listening)
        server = _Server(config, models, serving.close_seconds, lambda: on_ready(url), link)
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """Says when it answers; and ends by itself when it is asked to, not by the signal that asked."""

    def __init__(
        self,
        config: uvicorn.Config,
        models: Mapping[str, Model],
        close_seconds: float,
        on_ready: Callable[[], None],
        link: Link | None,
    ) -> None:
        super().__init__(config)
        self._link = link
        self._models = models
        self._close_seconds = close_seconds
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._link is not None:
            labels = {"worker": str(self._link.number)}
            self._link.listen(asyncio.get_running_loop(), lambda: families_of(self._models, labels), self._end)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        refusing = asyncio.create_task(self._refuse_what_waits())
        try:
            await super().shutdown(sockets)
        finally:
            refusing.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    def _end(self) -> None:
        self.should_exit = True

    async def _refuse_what_waits(self) -> None:
        """Once the time for answers is over, let clients know, rather than leave them."""
        await asyncio.sleep(self._close_seconds)
        for model in self._models.values():
            await model.service.close(0)


def url_of(listening: socket.socket) -> str:
    """Where clients find it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
