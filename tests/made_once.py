"""What many tests only read, made once for a whole run: its workers share it through files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

__all__ = ["MadeOnce"]


class MadeOnce:
    """Directories of one run of pytest, each made by the first worker that asks for it.

    The others wait for it, and read what it made: a test that changes something changes a copy.
    """

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        own = factory.getbasetemp()
        self._folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "made-once"
        self._folder.mkdir(exist_ok=True)

    def __call__(self, name: str, make: Callable[[Path], object]) -> Path:
        """The directory `name`, which `make` fills where it is not there yet; a failure leaves nothing behind."""
        made = self._folder / name
        with FileLock(self._folder / f"{name}.lock"):
            if not made.exists():
                unfinished = self._folder / f"{name}.unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                make(unfinished)
                unfinished.rename(made)
        return made
