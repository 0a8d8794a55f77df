"""What the CPU can, asked of the CPU itself on every system: under an emulator /proc/cpuinfo tells another's."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Final

from onnxpress.hardware.cpuid import asked_of_glibc, asked_of_the_cpu

__all__ = ["SIMD", "cpu_features"]

SIMD: Final = (
    "sse4_1",
    "avx2",
    "avx512f",
    "avx512bw",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
)
"""The features that decide which kernels run, as Linux names them."""

_NUMPY: Final = {
    "SSE41": "sse4_1",
    "AVX2": "avx2",
    "AVX512F": "avx512f",
    "AVX512BW": "avx512bw",
    "AVX512_SKX": "avx512bw",  # a numpy before 2.4 has a name for the group
    "AVX512VNNI": "avx512_vnni",
    "AVX512_CLX": "avx512_vnni",
    "ASIMD": "asimd",
    "ASIMDDP": "asimddp",
    "SVE": "sve",
}
_AT_HWCAP: Final = 16
_AT_HWCAP2: Final = 26
_ARM64_LINUX: Final = {
    "asimd": (_AT_HWCAP, 1),
    "asimddp": (_AT_HWCAP, 20),
    "sve": (_AT_HWCAP, 22),
    "i8mm": (_AT_HWCAP2, 13),
}
_ARM64_MACOS: Final = {"asimd": b"AdvSIMD", "asimddp": b"arm.FEAT_DotProd", "i8mm": b"arm.FEAT_I8MM"}


@cache
def cpu_features() -> tuple[str, ...]:
    """Those of `SIMD` that this CPU has and this system lets run; none that nobody tells."""
    found = {_NUMPY[name] for name, held in _asked_of_numpy().items() if held and name in _NUMPY}
    architecture = platform.machine().lower()
    if architecture in ("x86_64", "amd64"):
        told = asked_of_glibc()
        found |= (asked_of_the_cpu() if told is None else told) or set()
    elif architecture in ("arm64", "aarch64"):
        found |= _asked_of_arm_system()
    return tuple(name for name in SIMD if name in found)


def _asked_of_numpy() -> Mapping[str, bool]:
    """Numpy asks the CPU as it is imported, to choose its own kernels; nothing where it hides what it found."""
    try:
        core = import_module("numpy._core._multiarray_umath")
    except ImportError:
        return {}
    features: Mapping[str, bool] = getattr(core, "__cpu_features__", {})
    return features


def _asked_of_arm_system() -> set[str]:
    """An ARM tells its system alone, which says it to processes."""
    if sys.platform == "darwin":
        return {name for name, key in _ARM64_MACOS.items() if _sysctl(b"hw.optional." + key)}
    if sys.platform == "linux":
        getauxval = ctypes.CDLL(None).getauxval
        getauxval.restype, getauxval.argtypes = ctypes.c_ulong, (ctypes.c_ulong,)
        return {name for name, (word, bit) in _ARM64_LINUX.items() if getauxval(word) >> bit & 1}
    return set()


def _sysctl(name: bytes) -> int:
    """The number that macOS keeps under `name`, 0 without one."""
    value, size = ctypes.c_int64(0), ctypes.c_size_t(8)
    return 0 if ctypes.CDLL(None).sysctlbyname(name, ctypes.byref(value), ctypes.byref(size), None, 0) else value.value
