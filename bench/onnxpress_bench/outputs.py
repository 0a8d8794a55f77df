"""Files that a command writes at its end: known to be writable at its beginning, and never half written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from onnxpress.errors import ConfigError

__all__ = ["require_writable", "write_whole"]


def require_writable(option: str, path: Path | None) -> None:
    """Raise ConfigError unless `write_whole` can write `path`, which `option` named; None is no file."""
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"{option} {path}: is a directory. Name a file in it.")
    if not path.parent.is_dir():
        raise ConfigError(f"{option} {path}: there is no directory {path.parent}. Make it, or choose another path.")
    if path.exists() and not path.is_file():  # a pipe or a terminal
        return
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent)
    except OSError as error:
        reason = error.strerror
        raise ConfigError(f"{option} {path}: cannot be written there ({reason}). Choose another path.") from error
    os.close(descriptor)
    os.unlink(name)


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, then put it in its place."""
    if path.exists() and not path.is_file():  # a pipe or a terminal
        path.write_bytes(content)
        return
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
