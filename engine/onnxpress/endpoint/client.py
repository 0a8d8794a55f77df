"""What a running server answers, by the standard library's HTTP."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from onnxpress.errors import ConfigError
from onnxpress.inputs.texts import Text

__all__ = ["Endpoint", "Found", "find_endpoint"]

Found = dict[str, float]
"""Labels to scores, in the order in which the server gave them."""

_TEXTS: Final = 32  # text-embeddings-inference's default for one request
_SECONDS: Final = 60.0
_ATTEMPTS: Final = 8
_LONGEST_WAIT: Final = 10.0
_ABSENT: Final = (404, 405)


class _Scored(msgspec.Struct):
    label: str
    score: float


class _Classified(msgspec.Struct):
    index: int
    probs: list[float]


class _ClassifiedAll(msgspec.Struct):
    data: list[_Classified]


class _Named(msgspec.Struct):
    id: str


class _NamedAll(msgspec.Struct):
    data: list[_Named]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server whose protocol is known.

    Attributes:
        url: Without a slash at its end.
        protocol: "tei" asks /predict, as text-embeddings-inference and `onnxpress serve` have it; "vllm" /classify.
        labels: Of the model, in the order of its logits: vLLM gives scores alone.
        token: What it wants as a bearer's; None for nothing.
        model: The name that vLLM serves it by; None where it names none.
    """

    url: str
    protocol: Literal["tei", "vllm"]
    labels: tuple[str, ...]
    token: str | None
    model: str | None

    def ask(self, texts: Sequence[Text]) -> list[Found]:
        """The scores of each text, which the server may cut.

        Raises:
            ConfigError: It cannot be reached, refuses, or answers something else.
        """
        parts = [texts[start : start + _TEXTS] for start in range(0, len(texts), _TEXTS)]
        return [found for part in parts for found in self._ask(part)]

    def _ask(self, texts: Sequence[Text]) -> list[Found]:
        if self.protocol == "tei":
            inputs = [[text] if isinstance(text, str) else list(text) for text in texts]
            rows = self._post("/predict", {"inputs": inputs, "truncate": True}, list[list[_Scored]])
            answers = [{one.label: one.score for one in row} for row in rows]
        else:
            if any(not isinstance(text, str) for text in texts):
                raise ConfigError(f"{self.url}: vLLM's /classify takes no pairs. Pass a sample without text_pair.")
            asked = {"input": list(texts), "truncate_prompt_tokens": -1}
            asked |= {"model": self.model} if self.model is not None else {}
            data = sorted(self._post("/classify", asked, _ClassifiedAll).data, key=lambda one: one.index)
            if any(len(one.probs) != len(self.labels) for one in data):
                raise ConfigError(
                    f"{self.url} gives {len(data[0].probs)} scores a text, the artifact has {len(self.labels)} labels. "
                    "It serves another model."
                )
            answers = [_ranked(dict(zip(self.labels, one.probs, strict=True))) for one in data]
        if len(answers) != len(texts):
            raise ConfigError(f"{self.url} answered {len(answers)} of {len(texts)} texts; it serves another protocol.")
        return answers

    def _post(self, path: str, content: object, kind: type[Any]) -> Any:
        for attempt in range(_ATTEMPTS):
            status, body, wait = _request(self.url + path, self.token, msgspec.json.encode(content))
            if status != 429 or attempt == _ATTEMPTS - 1:
                break
            time.sleep(wait)
        return _decoded(self.url + path, status, body, kind)


def find_endpoint(url: str, labels: tuple[str, ...], token: str | None) -> Endpoint:
    """The server at `url`, by the routes that it has.

    Raises:
        ConfigError: It is no URL, cannot be reached, or has neither /predict nor /classify.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname is not None and parts.port != 0
    except ValueError:
        known = False
    if not known or not url.isascii() or any(letter.isspace() for letter in url):
        raise ConfigError(f"an endpoint is http://HOST:PORT or https://…, got {url!r}")
    url = url.rstrip("/")
    if _request(f"{url}/predict", token, b"{}")[0] not in _ABSENT:
        return Endpoint(url=url, protocol="tei", labels=labels, token=token, model=None)
    if _request(f"{url}/classify", token, b"{}")[0] not in _ABSENT:
        status, body, _ = _request(f"{url}/v1/models", token, None)
        named = _decoded(f"{url}/v1/models", status, body, _NamedAll).data if status == 200 else []
        return Endpoint(url=url, protocol="vllm", labels=labels, token=token, model=named[0].id if named else None)
    raise ConfigError(f"{url} has neither /predict (text-embeddings-inference, onnxpress) nor /classify (vLLM).")


def _ranked(scores: Found) -> Found:
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def _request(url: str, token: str | None, body: bytes | None) -> tuple[int, bytes, float]:
    """Status, content, and the seconds to wait where it asks for that. Raises ConfigError where there is no answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    asked = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=_SECONDS) as answer:
            return answer.status, answer.read(), 0.0
    except urllib.error.HTTPError as error:
        with error:
            asks = error.headers.get("Retry-After", "1")
            wait = min(float(asks), _LONGEST_WAIT) if asks.isdecimal() else 1.0
            return error.code, error.read(), wait
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ConfigError(f"{url} cannot be asked: {reason or type(error).__name__}. Is the server up?") from None


def _decoded(url: str, status: int, body: bytes, kind: type[Any]) -> Any:
    if status != 200:
        said = " ".join(body[:300].decode("utf-8", "replace").split())
        raise ConfigError(f"{url} answered with status {status}: {said or 'nothing'}")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{url} gave another answer than expected: {error}") from None
