"""Whether this CPU's int8 products are exact, told by one: whatever it is taken for, a wrong guess flips no label.

Where ONNX Runtime has no wider instruction than AVX2's or AVX-512's `vpmaddubsw`, two products of uint8 and int8 are
added in 16 bits, and stop at 32,767. `session.x64quantprecision` takes slower kernels there that do not.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from onnxpress.artifacts.manifest import Target
from onnxpress.sessions.session import PROVIDERS, import_onnxruntime, session_options

__all__ = ["WEIGHT_LIMITS", "product_graph", "sums_are_exact"]

WEIGHT_LIMITS: Final[dict[Target, int]] = {
    "vnni": 127,
    "arm64": 127,
    "avx2": 64,  # 255 * 64 * 2 fits int16, in which two products are added before they are widened
}
"""The largest int8 weight, by the machine that it is for."""

_TERMS: Final = 256
_COLUMNS: Final = 64
_ROWS: Final = (1, 2, 16)  # one row, a few and many have kernels of their own


@cache
def sums_are_exact(limit: int, *, precise: bool) -> bool:
    """Whether sums of uint8 times int8 of up to `limit` are exact here, tried at the ends of both ranges.

    Takes some milliseconds, once a process.

    Args:
        limit: The largest weight, 1 to 127.
        precise: Whether ONNX Runtime is told to prefer kernels that do not overflow.
    """
    weights = np.full((_TERMS, _COLUMNS), limit, dtype=np.int8)
    weights[:, ::2] *= -1
    options = session_options(None, threads=1, spinning=False, saturates=precise)
    session = import_onnxruntime().InferenceSession(product_graph(weights), options, providers=[PROVIDERS["cpu"]])
    for rows in _ROWS:
        values = np.full((rows, _TERMS), 255, dtype=np.uint8)
        exact = values.astype(np.float32) @ weights.astype(np.float32)  # below 2**24
        if not np.array_equal(session.run(None, {"values": values})[0], exact):
            return False
    return True


def product_graph(weights: np.ndarray) -> bytes:
    """An ONNX model of the one node that int8 graphs multiply by: uint8 [rows, terms] times `weights`, as float32.

    Args:
        weights: int8 [terms, columns].
    """
    one = np.ones((), dtype=np.float32)
    node = [_text(1, name) for name in ("values", "weights", "one", "one")]
    node += [_text(2, "sums"), _text(4, "MatMulIntegerToFloat"), _text(7, "com.microsoft")]
    graph = [
        _message(1, *node),
        _text(2, "product"),
        _message(5, _tensor("weights", _INT8, weights)),
        _message(5, _tensor("one", _FLOAT, one)),
        _message(11, _value("values", _UINT8)),
        _message(12, _value("sums", _FLOAT)),
    ]
    opsets = (_message(8, _text(1, ""), _number(2, 17)), _message(8, _text(1, "com.microsoft"), _number(2, 1)))
    return b"".join((_number(1, 8), _message(7, *graph), *opsets))


# Just enough of ONNX's protobuf: the engine does not need the package onnx.
_FLOAT, _UINT8, _INT8 = 1, 2, 3


def _tensor(name: str, kind: int, content: np.ndarray) -> bytes:
    dims = b"".join(_number(1, size) for size in content.shape)
    return dims + _number(2, kind) + _text(8, name) + _bytes(9, content.tobytes())


def _value(name: str, kind: int) -> bytes:
    """A matrix of any size."""
    shape = _message(2, _message(1, _text(2, "rows")), _message(1, _text(2, f"{name}_columns")))
    return _text(1, name) + _message(2, _message(1, _number(1, kind), shape))


def _message(field: int, *parts: bytes) -> bytes:
    return _bytes(field, b"".join(parts))


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _varint(number: int) -> bytes:
    groups = []
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes((*groups, number))
