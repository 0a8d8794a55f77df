"""Facts about the machine and the libraries, recorded beside every figure."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from onnxpress.cpu import available_cpus
from onnxpress.manifest import Target

__all__ = ["Machine", "cpu_model", "describe_machine", "int8_target", "saturates", "vector_extensions"]

_PACKAGES: Final = (
    "onnxpress",
    "onnxruntime",
    "onnxruntime-gpu",
    "numpy",
    "tokenizers",
    "torch",
    "transformers",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "peft",
)
_SIMD: Final = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "sve",
)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where figures were measured.

    Attributes:
        cpus: CPUs that the process may use.
        simd: Vector extensions that decide which kernels run.
        load: One-minute load average when the run began, 0 where the system has none.
    """

    cpu: str
    cpus: int
    simd: list[str]
    load: float
    system: str
    python: str
    versions: dict[str, str]


def describe_machine() -> Machine:
    """The machine that this process runs on, now."""
    return Machine(
        cpu=cpu_model(),
        cpus=available_cpus(),
        simd=vector_extensions(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions={package: found for package in _PACKAGES if (found := _version(package))},
    )


def cpu_model() -> str:
    """The processor's name."""
    model = re.search(r"model name\s*:\s*(.+)", _cpuinfo())
    return model.group(1).strip() if model else platform.processor() or platform.machine()


def vector_extensions() -> list[str]:
    """The vector extensions of this CPU that decide which kernels run; none where the system does not tell."""
    flags = re.search(r"(?:flags|Features)\s*:\s*(.+)", _cpuinfo())
    held = set(flags.group(1).split()) if flags else set()
    return [flag for flag in _SIMD if flag in held]


def int8_target(extensions: Sequence[str] | None = None, architecture: str | None = None) -> Target:
    """The int8 products that this machine has; "avx2", whose sums saturate, where it is not known better.

    Args:
        extensions: As `vector_extensions` gives them; None for this machine's.
        architecture: As `platform.machine` gives it; None for this machine's.
    """
    held = set(vector_extensions() if extensions is None else extensions)
    if (architecture or platform.machine()).lower() in ("arm64", "aarch64"):
        return "arm64"
    return "vnni" if held & {"avx512_vnni", "avx_vnni"} else "avx2"


def saturates(target: Target | None) -> bool:
    """Whether this CPU's fastest int8 products overflow on weights that were made for `target`."""
    return target == "vnni" and int8_target() == "avx2"


@cache
def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # slower to import than all of this package

    try:
        return version(package)
    except PackageNotFoundError:
        return None
