"""Which archive a file is, by its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["archive_kind"]

_BEGINNINGS: Final = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # an empty one
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
}
_TAR: Final = b"ustar"
_TAR_AT: Final = 257


def archive_kind(path: Path) -> str | None:
    """What packed the plain file at `path`: "zip", "tar", "gzip" and so on; None where it is none of these."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            begins = file.read(_TAR_AT + len(_TAR))
    except OSError:
        return None
    if begins[_TAR_AT:] == _TAR:
        return "tar"
    return next((kind for magic, kind in _BEGINNINGS.items() if begins.startswith(magic)), None)
