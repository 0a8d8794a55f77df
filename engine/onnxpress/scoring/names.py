"""Names of files, as paths, as URLs and in print."""

from __future__ import annotations

from typing import Final

__all__ = ["is_url", "local_name", "printable"]

_LOCAL_SCHEMES: Final = ("file", "local")


def is_url(name: str) -> bool:
    """Whether fsspec opens `name`, not the operating system."""
    return "://" in name


def local_name(name: str) -> str:
    """`name`, which is one file whether it is written as a path or as a file:// URL."""
    scheme, mark, path = name.partition("://")
    return path.removeprefix("localhost") if mark and scheme.lower() in _LOCAL_SCHEMES else name


def printable(name: str) -> str:
    """`name` as text that UTF-8 can hold: bytes that are no UTF-8 are written in hexadecimal."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
