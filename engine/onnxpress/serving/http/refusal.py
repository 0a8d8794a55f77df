"""What a client is told instead of an answer: status, and one line, as text-embeddings-inference words them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from onnxpress.errors import (
    ClosedError,
    ConfigError,
    DeadlineExceededError,
    MissingDependencyError,
    OverloadedError,
    RunError,
    TextError,
)

__all__ = ["BUSY", "ErrorType", "Refusal", "refusal_of", "refused", "refused_by_router"]

ErrorType = Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"]

_RETRY_SECONDS: Final = "1"
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

BUSY: Final[Mapping[str, str]] = MappingProxyType({"Retry-After": _RETRY_SECONDS})
"""The headers of a 429."""

_log: Final = logging.getLogger("onnxpress")


class Refusal(Exception):
    """A request that gets no answer.

    Attributes:
        status: Of HTTP.
        kind: The `error_type` of text-embeddings-inference.
        words: One line: what is wrong, and the way out.
        headers: Of the response, beside its own.
    """

    def __init__(self, status: int, kind: ErrorType, words: str, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        super().__init__(status, kind, words)
        self.status, self.kind, self.words, self.headers = status, kind, words, headers


def refusal_of(error: Exception) -> Refusal:
    """What a client is told of `error`. The server's own faults are logged; what nobody foresaw is told by its type."""
    match error:
        case Refusal():
            return error
        case OverloadedError():
            words = f"{error.waiting:,} {error.what} would wait; the limit is {error.limit:,}. Try again later."
            return Refusal(429, "Overloaded", words, BUSY)
        case DeadlineExceededError():
            return Refusal(504, "Overloaded", f"no answer within {error.seconds:g} s. Allow more time, or send less.")
        case ClosedError():
            return Refusal(503, "Unhealthy", "the server is shutting down. Ask another.")
        case RunError():
            _log.error("%s", error)
            return Refusal(424, "Backend", str(error))
        case TextError():
            return Refusal(422, "Tokenizer", str(error))
        case ConfigError():
            return Refusal(422, "Validation", str(error))
        case MissingDependencyError():
            return Refusal(501, "Backend", str(error))
    _log.error("a request failed", exc_info=error)
    return Refusal(500, "Backend", f"unexpected {type(error).__name__}. The server's log has more.")


def refused(refusal: Refusal) -> Response:
    """The response: `{"error": …, "error_type": …}`."""
    words = " ".join(refusal.words.split()).encode("utf-8", "backslashreplace").decode()  # it may quote the request
    content = msgspec.json.encode({"error": words, "error_type": refusal.kind})
    return Response(content, refusal.status, dict(refusal.headers), "application/json")


async def refused_by_router(request: Request, error: Exception) -> Response:
    """The same for what has no route: no such path (404), or not this method (405)."""
    assert isinstance(error, HTTPException)
    words = f"{request.method} {request.url.path[:200]}: {error.detail}. GET /openapi.json lists what there is."
    return refused(Refusal(error.status_code, "Validation", words, error.headers or _NO_HEADERS))
