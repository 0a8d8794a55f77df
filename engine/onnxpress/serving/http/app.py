"""The routes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from onnxpress.errors import DeadlineExceededError
from onnxpress.serving.http.answers import describe_model, predict, rerank, zero_shot
from onnxpress.serving.http.arrival import Deadline, read_body, require_token, unless_gone
from onnxpress.serving.http.explaining import Explainer
from onnxpress.serving.http.exposition import exposition, families_of, workers_told
from onnxpress.serving.http.limits import Limits
from onnxpress.serving.http.link import Link
from onnxpress.serving.http.messages import (
    ExplainRequest,
    PredictRequest,
    RerankRequest,
    ZeroShotRequest,
    as_request,
    brings_labels,
    parse,
)
from onnxpress.serving.http.models import Model
from onnxpress.serving.http.openapi import openapi, page
from onnxpress.serving.http.refusal import Refusal, refusal_of, refused, refused_by_router
from onnxpress.serving.http.tagging import TagRequest, tag
from onnxpress.serving.http.try_page import try_page
from onnxpress.serving.tokens import AsyncTokenClassifier

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["make_app"]

_CLIENT_LEFT: Final = 499  # as nginx notes it; nobody reads it

_Answer = Callable[[Request], Awaitable[Response]]
_Asking = Callable[[Model, Any, Deadline], Coroutine[Any, Any, Any]]


def make_app(
    models: Mapping[str, Model],
    limits: Limits,
    *,
    token: str | None = None,
    is_ready: Callable[[], bool] = lambda: True,
    link: Link | None = None,
) -> Starlette:
    """An application that answers with `models`; the first of them where a path names none.

    It closes their services when it ends.

    Args:
        models: By name, at least one.
        limits: What is taken on.
        token: What a request must bring, but for those that ask for health, readiness, metrics and documentation.
        is_ready: Whether more requests are welcome.
        link: To the other workers, whose metrics are told too.
    """
    routes = _Routes(models, limits, token, is_ready, link)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for model in models.values():
                await model.service.close()

    app = Starlette(routes=routes.listed(), exception_handlers={HTTPException: refused_by_router}, lifespan=lifespan)
    app.router.redirect_slashes = False
    return app


class _Routes:
    """What answers each path."""

    def __init__(
        self,
        models: Mapping[str, Model],
        limits: Limits,
        token: str | None,
        is_ready: Callable[[], bool],
        link: Link | None,
    ) -> None:
        self._link = link
        self._models = models
        self._limits = limits
        self._token = token
        self._is_ready = is_ready
        self._explainers = {name: Explainer(model) for name, model in models.items()}

    def listed(self) -> list[Route]:
        """All routes: those of one model both for the first one and by name."""
        open_to_all: dict[str, _Answer] = {
            "/": self._page,
            "/health": self._health,
            "/ready": self._ready,
            "/metrics": self._metrics,
            "/openapi.json": self._openapi,
            "/docs": self._docs,
        }
        asking: dict[str, _Asking] = {"/predict": self._predict, "/rerank": self._rerank, "/explain": self._explain}
        found = [Route(path, _guarded(answer), methods=["GET"]) for path, answer in open_to_all.items()]
        found.append(Route("/models", self._closed(self._names), methods=["GET"]))
        for prefix in ("", "/models/{model}"):
            found += [
                Route(prefix + path, self._closed(self._asked(ask)), methods=["POST"]) for path, ask in asking.items()
            ]
            found.append(Route(prefix or "/", self._closed(self._asked(self._either)), methods=["POST"]))
            found.append(Route(f"{prefix}/info", self._closed(self._info), methods=["GET"]))
        return found

    def _closed(self, answer: _Answer) -> _Answer:
        """`answer` for those who have the token."""

        async def checked(request: Request) -> Response:
            require_token(request, self._token)
            return await answer(request)

        return _guarded(checked)

    def _asked(self, ask: _Asking) -> _Answer:
        """The route of `ask`, which takes the JSON of the body."""

        async def answer(request: Request) -> Response:
            deadline = Deadline(request, self._limits)
            model = self._model(request)
            content = parse(await read_body(request, self._limits))
            try:
                return _json(await unless_gone(request, ask(model, content, deadline)))
            except DeadlineExceededError:  # within what was left of it
                raise DeadlineExceededError(deadline.seconds) from None

        return answer

    def _model(self, request: Request) -> Model:
        name = request.path_params.get("model", next(iter(self._models)))
        if name not in self._models:
            words = f"no model is named {name[:80]!r}. GET /models lists those that there are."
            raise Refusal(404, "Validation", words)
        return self._models[name]

    async def _predict(self, model: Model, content: Any, deadline: Deadline) -> Any:
        if isinstance(model.service, AsyncTokenClassifier):
            return await tag(model, as_request(content, TagRequest), self._limits, deadline)
        if brings_labels(content):
            return await zero_shot(model, as_request(content, ZeroShotRequest), self._limits, deadline)
        return await predict(model, as_request(content, PredictRequest), self._limits, deadline)

    async def _rerank(self, model: Model, content: Any, deadline: Deadline) -> Any:
        return await rerank(model, as_request(content, RerankRequest), self._limits, deadline)

    async def _explain(self, model: Model, content: Any, deadline: Deadline) -> Any:
        return await self._explainers[model.name].explain(as_request(content, ExplainRequest), deadline)

    async def _either(self, model: Model, content: Any, deadline: Deadline) -> Any:
        ranked = isinstance(content, dict) and "query" in content and "inputs" not in content
        return await (self._rerank if ranked else self._predict)(model, content, deadline)

    async def _info(self, request: Request) -> Response:
        return _json(describe_model(self._model(request), self._limits))

    async def _names(self, request: Request) -> Response:
        return _json(list(self._models))

    async def _page(self, request: Request) -> Response:
        shown = try_page(list(self._models), secured=self._token is not None)
        return HTMLResponse(shown.html, headers={"Content-Security-Policy": shown.policy})

    async def _health(self, request: Request) -> Response:
        return Response()

    async def _ready(self, request: Request) -> Response:
        if not self._is_ready():
            raise Refusal(503, "Unhealthy", "the server is shutting down. Ask another.")
        return Response()

    async def _metrics(self, request: Request) -> Response:
        text, kind = exposition(await self._counted())
        return Response(text, media_type=kind)

    async def _counted(self) -> list[Metric]:
        """What this process counted, or all workers did; of the latter also how many told it."""
        if self._link is None:
            return families_of(self._models, {})
        own = families_of(self._models, {"worker": str(self._link.number)})
        found = await self._link.gathered()
        return [*(own if found is None else found.metrics), workers_told(1 if found is None else found.workers)]

    async def _openapi(self, request: Request) -> Response:
        return _json(openapi(self._limits, list(self._models), secured=self._token is not None))

    async def _docs(self, request: Request) -> Response:
        return HTMLResponse(page(openapi(self._limits, list(self._models), secured=self._token is not None)))


def _guarded(answer: _Answer) -> _Answer:
    """`answer`, or what the client is told instead."""

    async def told(request: Request) -> Response:
        try:
            return await answer(request)
        except ClientDisconnect:
            return Response(status_code=_CLIENT_LEFT)
        except Exception as error:
            return refused(refusal_of(error))

    return told


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
