"""ONNX Runtime's telemetry, which its Linux wheels have too: off, unless the user says otherwise.

It keeps a device id and a database of events under the user's cache, and is made to send them.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["telemetry_is_off", "telemetry_setting", "turn_off_telemetry"]

_VARIABLE: Final = "ORT_DISABLE_TELEMETRY"
_OFF: Final = frozenset(("1", "true", "yes", "on"))


def turn_off_telemetry() -> None:
    """Have ONNX Runtime neither keep nor send anything in this process and those that it starts.

    ONNX Runtime asks the environment once, as it is imported. What the user has set stays.
    """
    os.environ.setdefault(_VARIABLE, "1")


def telemetry_is_off() -> bool:
    """Whether the environment asks for that, by the words that ONNX Runtime knows."""
    return os.environ.get(_VARIABLE, "").lower() in _OFF


def telemetry_setting() -> str:
    """In words, whether it is off, and by what."""
    if telemetry_is_off():
        return "off: ONNX Runtime keeps and sends nothing"
    return f"left as ONNX Runtime has it: {_VARIABLE} is {os.environ.get(_VARIABLE, '')!r}, and 1 turns it off"
