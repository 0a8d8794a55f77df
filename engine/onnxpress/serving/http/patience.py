"""How long a connection may keep a server waiting: uvicorn has no limit for a request's head, nor for a reader."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from onnxpress.serving.http.limits import Limits

__all__ = ["patient_protocol"]

_BASE: Any = AutoHTTPProtocol  # of httptools where that is installed, else of h11: both have a `cycle`
_WORDS: Final = b'{"error":"the request\'s head did not come in time.","error_type":"Validation"}'
_LATE: Final = b"\r\n".join(
    (
        b"HTTP/1.1 408 Request Timeout",
        b"Content-Type: application/json",
        b"Connection: close",
        b"Content-Length: %d" % len(_WORDS),
        b"",
        _WORDS,
    )
)


def patient_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Uvicorn's protocol for HTTP/1.1, which ends a connection that keeps it waiting longer than `limits` allow.

    The time for a head runs from the connection, or from the first byte of a further request; sending it byte by byte
    does not prolong it. A client that does not take its answer has as long as one that does not send its body.
    """

    class Patient(_BASE):  # type: ignore[misc]  # chosen by uvicorn when it runs
        _head_late: asyncio.TimerHandle | None = None
        _reader_late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self._watch_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_head()

        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            for timer in (self._head_late, self._reader_late):
                if timer is not None:
                    timer.cancel()

        def pause_writing(self) -> None:
            super().pause_writing()
            if self._reader_late is None:
                self._reader_late = self.loop.call_later(limits.body_timeout, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._reader_late is not None:
                self._reader_late.cancel()
                self._reader_late = None

        def _watch_head(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                if self._head_late is None:
                    self._head_late = self.loop.call_later(limits.head_timeout, self._end_late_head)
            elif self._head_late is not None:
                self._head_late.cancel()
                self._head_late = None

        def _end_late_head(self) -> None:
            self._head_late = None
            if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
                self.transport.write(_LATE)
                self.transport.close()

    return Patient
