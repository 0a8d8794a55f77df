"""Facts about the machine and the libraries, recorded beside every figure."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec

from onnxpress.cpu import available_cpus

__all__ = ["Machine", "describe_machine"]

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
    cpuinfo = Path("/proc/cpuinfo")
    facts = cpuinfo.read_text() if cpuinfo.exists() else ""
    model = re.search(r"model name\s*:\s*(.+)", facts)
    flags = re.search(r"(?:flags|Features)\s*:\s*(.+)", facts)
    held = set(flags.group(1).split()) if flags else set()
    return Machine(
        cpu=model.group(1).strip() if model else platform.processor() or platform.machine(),
        cpus=available_cpus(),
        simd=[flag for flag in _SIMD if flag in held],
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions={package: found for package in _PACKAGES if (found := _version(package))},
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
