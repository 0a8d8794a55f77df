"""What a server takes on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnxpress.errors import ConfigError
from onnxpress.settings import require_whole

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a server takes on, of one request and of all.

    Attributes:
        max_texts: Texts of one request, at most `max_requests`.
        max_body: Bytes of one request's body.
        max_requests: Texts that may wait, for each artifact.
        max_tokens: Tokens of these together; a longer text is taken when nothing else waits.
        timeout: Seconds within which an answer is of use, where a request does not say less.
        head_timeout: Seconds within which a request's head must have come.
        body_timeout: Seconds within which its body must have come; and for which a client may not take its answer.
    """

    max_texts: int = 256
    max_body: int = 2_000_000
    max_requests: int = 1_024
    max_tokens: int = 65_536
    timeout: float = 60.0
    head_timeout: float = 10.0
    body_timeout: float = 30.0

    def __post_init__(self) -> None:
        for name in ("max_texts", "max_body", "max_requests", "max_tokens"):
            require_whole(name, getattr(self, name))
        for name in ("timeout", "head_timeout", "body_timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be above 0 s, got {getattr(self, name):g}")
        if self.max_texts > self.max_requests:
            raise ConfigError(
                f"max_texts must be at most max_requests, got {self.max_texts:,} and {self.max_requests:,}: "
                "a request of so many texts would always be refused"
            )
