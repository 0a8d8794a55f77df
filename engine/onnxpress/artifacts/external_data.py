"""Which files a serialized ONNX graph takes its weights from, read without the onnx package.

Older versions of ONNX Runtime open whatever path a graph names, outside the model's directory too. So the engine
reads the names itself, and opens no graph that names a file which the manifest does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["external_files"]

# Message fields of onnx.proto that lead to tensors: message -> field number -> message.
_FIELDS: Final[dict[str, dict[int, str]]] = {
    "Model": {7: "Graph", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
}
_KEY: Final = 1
_VALUE: Final = 2

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def external_files(model: bytes) -> frozenset[str]:
    """The `location` of every tensor in the serialized ModelProto that keeps its data in another file.

    Raises:
        ValueError: `model` is not a protocol buffer.
    """
    view, files = memoryview(model), set()
    pending = [("Model", view)]
    while pending:
        message, content = pending.pop()
        for number, field in _fields(content):
            child = _FIELDS[message].get(number)
            if child == "Entry":
                entry = dict(_fields(field))
                if bytes(entry.get(_KEY, b"")) == b"location":
                    files.add(bytes(entry.get(_VALUE, b"")).decode("utf-8", "surrogateescape"))
            elif child is not None:
                pending.append((child, field))
    return frozenset(files)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Numbers and contents of the length-delimited fields of `message`."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, position = _varint(message, position)
        elif wire == _BYTES:
            size, position = _varint(message, position)
            if position + size > len(message):
                raise ValueError(f"field {number} is cut short")
            yield number, message[position : position + size]
            position += size
        elif wire in (_FIXED32, _FIXED64):
            position += 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"field {number} has the unknown wire type {wire}")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The variable-length integer at `position`, and the position behind it."""
    value = shift = 0
    while position < len(message) and shift < 64:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("a number is cut short")
