"""Facts about the machine and the libraries, recorded beside every figure."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Final

import msgspec

from onnxpress.artifacts.manifest import Target
from onnxpress.errors import DeviceUnavailableError
from onnxpress.hardware.cpu import available_cpus
from onnxpress.hardware.cpu_features import cpu_features
from onnxpress.hardware.cpu_name import cpu_model
from onnxpress.hardware.int8_sums import WEIGHT_LIMITS, sums_are_exact
from onnxpress.system import load_average

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
        load=load_average(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions={package: found for package in _PACKAGES if (found := _version(package))},
    )


def vector_extensions() -> list[str]:
    """The vector extensions of this CPU that decide which kernels run; none where nobody tells."""
    return list(cpu_features())


def int8_target(extensions: Sequence[str] | None = None, architecture: str | None = None) -> Target:
    """The int8 products that this machine has; "avx2", whose sums saturate, where it is not known better.

    Args:
        extensions: As `vector_extensions` gives them; None to try this machine's sums, whatever it says it has.
        architecture: As `platform.machine` gives it; None for this machine's.
    """
    if (architecture or platform.machine()).lower() in ("arm64", "aarch64"):
        return "arm64"
    if extensions is None:
        return "vnni" if _exact("vnni", precise=False) else "avx2"
    return "vnni" if {"avx512_vnni", "avx_vnni"} & set(extensions) else "avx2"


def saturates(target: Target | None) -> bool:
    """Whether this CPU's fastest int8 products overflow on weights that were made for `target`; None is for fp32.

    Raises:
        DeviceUnavailableError: They overflow, and those that ONNX Runtime has instead do too.
    """
    if target is None or WEIGHT_LIMITS[target] <= WEIGHT_LIMITS["avx2"]:
        return False
    if int8_target() != "avx2" and _exact(target, precise=False):
        return False
    if not _exact(target, precise=True):
        raise DeviceUnavailableError(
            "cpu", f"its int8 sums overflow on an artifact for {target}. Pass precision='fp32', or export for avx2."
        )
    return True


def _exact(target: Target, *, precise: bool) -> bool:
    return sums_are_exact(WEIGHT_LIMITS[target], precise=precise)


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # slower to import than all of this package

    try:
        return version(package)
    except PackageNotFoundError:
        return None
