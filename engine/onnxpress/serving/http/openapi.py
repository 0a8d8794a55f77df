"""The routes as an OpenAPI document, and that as a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

import msgspec

from onnxpress import __version__
from onnxpress.serving.http.arrival import TIMEOUT_HEADER
from onnxpress.serving.http.limits import Limits
from onnxpress.serving.http.messages import ExplainRequest, PredictRequest, RerankRequest, ZeroShotRequest
from onnxpress.serving.http.tagging import TagRequest

__all__ = ["openapi", "page"]

_REFS: Final = "#/components/schemas/{name}"
_PREDICTION: Final = {
    "type": "object",
    "properties": {"score": {"type": "number"}, "label": {"type": "string"}},
    "required": ["score", "label"],
}
_ENTITIES: Final = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "entity_group": {"type": "string"},
            "entity": {"type": "string"},
            "score": {"type": "number"},
            "word": {"type": "string"},
            "start": {"type": "integer"},
            "end": {"type": "integer"},
        },
        "required": ["score", "word", "start", "end"],
    },
}
_PREDICTIONS: Final = {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}}
_ANSWERS: Final[dict[str, dict[str, Any]]] = {
    "Prediction": _PREDICTION,
    "Predictions": {"anyOf": [_PREDICTIONS, {"type": "array", "items": _PREDICTIONS}]},
    "Entities": {"anyOf": [_ENTITIES, {"type": "array", "items": _ENTITIES}]},
    "Ranks": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"index": {"type": "integer"}, "text": {"type": "string"}, "score": {"type": "number"}},
            "required": ["index", "score"],
        },
    },
    "Explanation": {
        "type": "object",
        "properties": {
            "label": {"type": "string"},
            "score": {"type": "number"},
            "base": {"type": "number"},
            "method": {"type": "string"},
            "precision": {"type": "string"},
            "words": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "text": {"type": "string"},
                        "start": {"type": "integer"},
                        "end": {"type": "integer"},
                        "part": {"type": "integer"},
                        "share": {"type": "number"},
                    },
                    "required": ["text", "start", "end", "part", "share"],
                },
            },
        },
        "required": ["label", "score", "base", "method", "precision", "words"],
    },
    "Info": {"type": "object"},
    "Names": {"type": "array", "items": {"type": "string"}},
    "Error": {
        "type": "object",
        "properties": {"error": {"type": "string"}, "error_type": {"type": "string"}},
        "required": ["error", "error_type"],
    },
}
_ERRORS: Final = {
    400: "The body is not JSON, or holds no text",
    401: "The token is missing, or another",
    404: "No model has this name",
    408: "The body did not come in time",
    413: "The body is too large",
    415: "The body is not JSON by its header",
    422: "A field or a text cannot be used; the error names its index",
    424: "The model cannot answer this",
    429: "Too much waits; Retry-After says when to try again",
    501: "An extra is not installed",
    503: "The server is shutting down",
    504: "There was no answer in time",
}
_ASKING: Final = {
    "predict": (
        "All labels of a text, a pair or a batch, with their scores; those that the request brings; or entities",
        "PredictRequest ZeroShotRequest TagRequest",
        "Predictions Entities",
    ),
    "explain": ("Which words of a text speak for a label, and how much", "ExplainRequest", "Explanation"),
    "rerank": ("Texts by how well they answer a query", "RerankRequest", "Ranks"),
}
_PLAIN: Final = {
    "/": ("A page to try it", "text/html"),
    "/health": ("Whether the server lives", ""),
    "/ready": ("Whether more requests are welcome", ""),
    "/metrics": ("Counters and histograms for Prometheus", "text/plain"),
    "/openapi.json": ("This document", "application/json"),
    "/docs": ("This document as a page", "text/html"),
}
_ASKING_ERRORS: Final = (400, 401, 404, 408, 413, 415, 422, 424, 429, 503, 504)
_PLAIN_ERRORS: Final = {"/ready": (503,), "/metrics": (501,)}


def openapi(limits: Limits, models: Sequence[str], *, secured: bool) -> dict[str, Any]:
    """The document of a server of `models`, by their names. `secured` says whether a token is needed."""
    _, schemas = msgspec.json.schema_components(
        (PredictRequest, RerankRequest, ZeroShotRequest, TagRequest, ExplainRequest), ref_template=_REFS
    )
    paths: dict[str, dict[str, Any]] = {
        path: {"get": {"summary": words, "responses": _plain_responses(path, kind), "security": []}}
        for path, (words, kind) in _PLAIN.items()
    }
    paths["/models"] = {"get": _operation("Names of the models, the first of which is asked without a name", "Names")}
    for prefix in ("", "/models/{model}"):
        for name, (words, request, answer) in _ASKING.items():
            paths[f"{prefix}/{name}"] = {"post": _operation(words, answer, request)}
        either = _operation(
            "As /predict; as /rerank for a body with a query", "Predictions Entities", "PredictRequest TagRequest"
        )
        paths.setdefault(prefix or "/", {})["post"] = either
        paths[f"{prefix}/info"] = {"get": _operation("The model, and what the server takes on", "Info")}
        if prefix:
            for path in [path for path in paths if path.startswith(prefix)]:
                paths[path]["parameters"] = [
                    {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "enum": [*models]}}
                ]
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "onnxpress",
            "version": __version__,
            "description": (
                f"A request has at most {limits.max_texts:,} texts and {limits.max_body:,} bytes, and "
                f"{limits.timeout:g} s for its answer, or what its header {TIMEOUT_HEADER} says, in seconds, if less."
            ),
        },
        "paths": paths,
        "components": {"schemas": {**schemas, **_ANSWERS}},
    }
    if secured:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def page(document: dict[str, Any]) -> str:
    """The document as one page of HTML that asks nothing of other servers, and runs no script."""
    rows = "".join(
        f"<tr><td><code>{method.upper()}</code><td><code>{escape(path)}</code><td>{escape(operation['summary'])}"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in ("get", "post")
    )
    schemas = "".join(
        f"<h3>{escape(name)}</h3><pre>{escape(_indented(schema))}</pre>"
        for name, schema in document["components"]["schemas"].items()
    )
    errors = "".join(f"<tr><td>{status}<td>{escape(words)}" for status, words in _ERRORS.items())
    info = document["info"]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>"
        "<style>body{font:16px sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td{padding:.2rem .8rem .2rem 0;vertical-align:top}pre{background:#8881;padding:1rem;overflow:auto}</style>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])} "
        f"The document itself: <a href=/openapi.json>/openapi.json</a>.</p>"
        f"<h2>Routes</h2><table>{rows}</table><h2>Errors</h2><table>{errors}</table><h2>Messages</h2>{schemas}</html>"
    )


def _plain_responses(path: str, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "200": {"description": "As said", "content": {kind: {}}} if kind else {"description": "Yes"}
    }
    for status in _PLAIN_ERRORS.get(path, ()):
        found[str(status)] = {"description": _ERRORS[status], "content": _content("Error")}
    return found


def _indented(schema: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()


def _operation(words: str, answer: str, request: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": words,
        "responses": {"200": {"description": "The answer", "content": _content(answer)}},
    }
    for status in _ASKING_ERRORS if request else (401, 404):
        told = _ERRORS[status]
        found["responses"][str(status)] = {"description": told, "content": _content("Error")}
    if request:
        found["requestBody"] = {"required": True, "content": _content(request)}
    return found


def _content(schemas: str) -> dict[str, Any]:
    """Of one of these, whose names have spaces between."""
    forms = [{"$ref": _REFS.format(name=name)} for name in schemas.split()]
    return {"application/json": {"schema": forms[0] if len(forms) == 1 else {"anyOf": forms}}}
