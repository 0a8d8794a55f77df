"""Reading what lies beside an artifact, which anyone may have put there: by size, kind and owner first."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from onnxpress.system import open_without_waiting, user_id

__all__ = ["owned_by_us", "read_beside"]

_MAX_BYTES: Final = 2**20


def read_beside(path: Path, artifact: Path) -> bytes | None:
    """The content of the file at `path`, small as what is kept of a machine is.

    None where there is none, or none to believe: a pipe, a device or a directory, or a stranger's (`owned_by_us`). No
    reader waits for a pipe's writer.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger than any such file.
    """
    try:
        descriptor = open_without_waiting(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not owned_by_us(found, artifact):
            return None
        if found.st_size > _MAX_BYTES:
            raise ValueError(f"has {found.st_size:,} bytes, more than the {_MAX_BYTES:,} that it may have")
        return file.read(_MAX_BYTES)


def owned_by_us(found: os.stat_result, artifact: Path) -> bool:
    """Whether what `found` describes is the artifact's owner's, this user's or root's; so is everything on Windows.

    Where everyone may write beside the artifact, as in /tmp, it could be anyone's.
    """
    return (user := user_id()) is None or found.st_uid in (artifact.stat().st_uid, user, 0)
