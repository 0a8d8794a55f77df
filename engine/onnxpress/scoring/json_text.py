"""JSON as it is found in files."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

__all__ = ["decode_json"]

_NOT_FINITE: Final = (b"NaN", b"Infinity")


def decode_json(line: bytes) -> Any:
    """The value of `line`, which may hold NaN and Infinity, as Python's json writes them.

    Raises:
        ValueError: It is not JSON.
        RecursionError: It is nested too deep.
    """
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError:
        if not any(word in line for word in _NOT_FINITE):
            raise
    value = json.loads(line)
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # which a lone surrogate cannot be
    return value
