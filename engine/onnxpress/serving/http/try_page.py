"""The page at `/`, to try a server: one file that fetches nothing but answers."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files

from onnxpress import __version__

__all__ = ["TryPage", "try_page"]


@dataclass(frozen=True, slots=True)
class TryPage:
    """The page.

    Attributes:
        html: As a browser takes it.
        policy: What it may do, as its Content-Security-Policy: run its own script and ask its own server.
    """

    html: str
    policy: str


def try_page(models: Sequence[str], *, secured: bool) -> TryPage:
    """The page for `models`, by their names. `secured` says whether a token is needed."""
    style, script, body = (_file(f"try.{kind}") for kind in ("css", "js", "html"))
    options = "".join(f"<option>{escape(name)}</option>" for name in models)
    html = (
        body.replace("$STYLE", style)
        .replace("$SCRIPT", script)
        .replace("$VERSION", escape(__version__))
        .replace("$SEVERAL", "" if len(models) > 1 else "hidden")
        .replace("$SECURED", "" if secured else "hidden")
        .replace("$MODELS", options)  # the last: names may hold anything that a URL may
    )
    rules = {
        "default-src": "'none'",
        "style-src": f"'sha256-{_hash(style)}'",
        "script-src": f"'sha256-{_hash(script)}'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return TryPage(html, "; ".join(f"{name} {rule}" for name, rule in rules.items()))


@cache
def _file(name: str) -> str:
    return files("onnxpress.serving.http").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return b64encode(sha256(content.encode()).digest()).decode()
