"""Which int8 kernel ONNX Runtime takes on a CPU, by the order in which its library of kernels (MLAS) looks."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Final

import msgspec

from onnxpress.artifacts.manifest import Target
from onnxpress.errors import MissingDependencyError
from onnxpress.hardware.int8_sums import WEIGHT_LIMITS, sums_are_exact
from onnxpress.hardware.machine import int8_target, vector_extensions

__all__ = ["Int8Products", "int8_products", "kernel_of"]

_X86 = (
    ({"avx2", "amx_int8"}, "AMX, int8 tiles"),
    ({"avx512bw", "avx512_vnni"}, "AVX-512 VNNI"),
    ({"avx512bw"}, "AVX-512 without VNNI (vpmaddubsw)"),
    ({"avx2", "avx_vnni"}, "AVX-VNNI"),
    ({"avx2"}, "AVX2 (vpmaddubsw)"),
    (set[str](), "SSE (pmaddwd)"),
)
_ARM64 = (({"i8mm"}, "I8MM (smmla)"), ({"asimddp"}, "dot products (sdot)"), (set[str](), "NEON (smull)"))
_KERNELS: Final[dict[str, Sequence[tuple[set[str], str]]]] = {
    "x86_64": _X86,
    "amd64": _X86,
    "arm64": _ARM64,
    "aarch64": _ARM64,
}


class Int8Products(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of int8 products on a CPU.

    Attributes:
        kernel: The kernel that ONNX Runtime takes, by what the CPU says that it has.
        target: What to export for, to be fast here.
        exact: Whether sums with full int8 weights were exact when tried; None without onnxruntime.
        slower_exact: Whether those of the kernels for `session.x64quantprecision` were, which then stand in.
    """

    kernel: str
    target: Target
    exact: bool | None
    slower_exact: bool | None


def int8_products() -> Int8Products:
    """What becomes of int8 products here. Tries some."""
    held, full = vector_extensions(), WEIGHT_LIMITS["vnni"]
    try:
        exact, slower = (sums_are_exact(full, precise=precise) for precise in (False, True))
    except MissingDependencyError:
        return Int8Products(kernel=kernel_of(held), target=int8_target(held), exact=None, slower_exact=None)
    return Int8Products(kernel=kernel_of(held), target=int8_target(), exact=exact, slower_exact=slower)


def kernel_of(extensions: Sequence[str], architecture: str | None = None) -> str:
    """The int8 kernel that ONNX Runtime takes on a CPU with these vector extensions, as `vector_extensions` names them.

    Args:
        extensions: What the CPU has.
        architecture: As `platform.machine` gives it; None for this machine's.
    """
    found = (architecture or platform.machine()).lower()
    if (kernels := _KERNELS.get(found)) is None:
        return f"none that is known for {found}"
    return next(name for needed, name in kernels if needed <= set(extensions))
