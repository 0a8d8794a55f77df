"""Environments of their own for systems whose dependencies clash, made once and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Final

from filelock import FileLock

from onnxpress.errors import CheckFailedError
from onnxpress_bench.systems.spec import Kind

__all__ = ["EnvironmentFailedError", "environment_python", "requirements_of"]

_COMMON: Final = ("msgspec", "numpy", "mlcommons-loadgen==6.0.17")
_READY: Final = ".ready"


class EnvironmentFailedError(CheckFailedError):
    """What a system needs cannot be installed."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind, self.reason = kind, reason

    def __str__(self) -> str:
        return f"the environment of {self.kind} cannot be made: {self.reason}"


def requirements_of(kind: Kind) -> tuple[str, ...]:
    """What a system of `kind` needs installed, pinned; nothing where this environment has it all."""
    torch = f"torch=={version('torch').split('+')[0]}"
    found: dict[Kind, tuple[str, ...]] = {
        "optimum": ("optimum-onnx[onnxruntime]==0.1.0", "transformers==4.57.6", "onnxruntime==1.32.0", torch),
        "openvino": ("openvino==2026.4.1", "nncf==3.4.0", f"tokenizers=={version('tokenizers')}", "onnx", torch),
        "cross-encoder": (
            "sentence-transformers==6.2.0",
            f"transformers=={version('transformers')}",
            torch,
        ),
    }
    return (*_COMMON, *found[kind]) if kind in found else ()


def environment_python(
    kind: Kind, home: Path, *, on_step: Callable[[str], None] = lambda _: None, timeout: float = 1_800
) -> str:
    """The interpreter that runs systems of `kind`: this one, or that of an environment under `home`, made if need be.

    Raises:
        EnvironmentFailedError: It cannot be installed; nothing is left of it.
    """
    requirements = requirements_of(kind)
    if not requirements:
        return sys.executable
    key = sha256(" ".join((sys.version, *requirements)).encode()).hexdigest()[:12]
    folder = home / f"{kind}-{key}"
    executable = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / f"{folder.name}.lock"):
        if not (folder / _READY).exists():
            on_step(f"installing {kind} into an environment of its own, once")
            shutil.rmtree(folder, ignore_errors=True)
            try:
                _run([sys.executable, "-m", "venv", str(folder)], kind, timeout)
                install = [str(executable), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                _run([*install, *requirements], kind, timeout)
            except EnvironmentFailedError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            (folder / _READY).touch()
    return str(executable)


def _run(command: list[str], kind: str, timeout: float) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFailedError(kind, f"{command[2]} {command[3]} took over {timeout:.0f} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
        raise EnvironmentFailedError(kind, " ".join(lines[0].split())[:300])
