"""A request as it comes in: its body, its deadline, its token, and whether its client is still there."""

from __future__ import annotations

import asyncio
import hmac
import math
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Final, TypeVar

from starlette.requests import ClientDisconnect, Request

from onnxpress.errors import DeadlineExceededError
from onnxpress.serving.http.limits import Limits
from onnxpress.serving.http.refusal import Refusal

__all__ = ["TIMEOUT_HEADER", "Deadline", "read_body", "require_token", "unless_gone"]

TIMEOUT_HEADER: Final = "X-Request-Timeout"

_LEAST_SECONDS: Final = 0.001
_MOST_DISCARDED: Final = 64 * 2**20  # bytes; read, so that a client that still sends gets to see the refusal

_Result = TypeVar("_Result")


class Deadline:
    """How long an answer is of use, from now: the limit's seconds, or fewer where the request's header says so."""

    def __init__(self, request: Request, limits: Limits) -> None:
        """Raises Refusal where the header is no number of seconds within which an answer could come."""
        self._came = monotonic()
        self.seconds = limits.timeout
        if (asked := request.headers.get(TIMEOUT_HEADER)) is not None:
            self.seconds = min(self.seconds, _seconds(asked))

    def remaining(self) -> float:
        """Seconds that are left. Raises DeadlineExceededError where there are none."""
        left = self._came + self.seconds - monotonic()
        if left <= 0:
            raise DeadlineExceededError(self.seconds)
        return left


def _seconds(asked: str) -> float:
    try:
        found = float(asked)
    except ValueError:
        found = math.nan
    if not _LEAST_SECONDS <= found < math.inf:
        words = f"{TIMEOUT_HEADER} must be a number of seconds, at least {_LEAST_SECONDS:g}, got {asked[:40]!r}."
        raise Refusal(400, "Validation", words)
    return found


def require_token(request: Request, token: str | None) -> None:
    """Raise Refusal where a `token` is wanted and the request has another; comparing tells nothing by its time."""
    if token is None:
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), token.encode("utf-8"))
    if not same or scheme.lower() != "bearer":
        words = "this needs the header Authorization: Bearer TOKEN, with the server's token."
        raise Refusal(401, "Validation", words, {"WWW-Authenticate": "Bearer"})


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body, which is JSON by its header, or has none.

    Raises:
        Refusal: It is something else (415), too large (413), or does not come (408).
        ClientDisconnect: The client has left.
    """
    _require_json(request)
    try:
        async with asyncio.timeout(limits.body_timeout):
            return await _read(request, limits.max_body)
    except TimeoutError:
        words = f"the body did not come within {limits.body_timeout:g} s."
        raise Refusal(408, "Validation", words, {"Connection": "close"}) from None


async def unless_gone(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:
    """What `work` gives, for a request whose body was read. It is cancelled where the client leaves.

    Raises:
        ClientDisconnect: The client has left.
    """
    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        watch.cancel()
        task.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _require_json(request: Request) -> None:
    kind = request.headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Refusal(415, "Validation", f"the body is {kind[:80]!r}. Send Content-Type: application/json.")
    if (coding := request.headers.get("Content-Encoding", "identity").lower()) != "identity":
        raise Refusal(415, "Validation", f"the body is encoded as {coding[:40]!r}. Send it as it is.")


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("Content-Length", "0")
    too_large = len(declared) > 18 or int(declared) > limit
    parts: list[bytes] = []
    size = 0
    if not (too_large and "Expect" in request.headers):  # who asks first has sent nothing yet
        async for part in request.stream():
            size += len(part)
            too_large = too_large or size > limit
            if too_large:
                parts.clear()
                if size > _MOST_DISCARDED:
                    break
            else:
                parts.append(part)
    if too_large:
        words = f"the body has more than {limit:,} bytes. Send fewer texts at a time."
        raise Refusal(413, "Validation", words, {"Connection": "close"})
    return b"".join(parts)
