"""The x86 instruction that says what the CPU can: glibc's answer, or its own where there is none."""

from __future__ import annotations

import ctypes
import mmap
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["asked_of_glibc", "asked_of_the_cpu"]

# Of leaf 7: (subleaf, register, bit). numpy does not tell these on every version.
_EAX, _ECX, _EDX = 0, 2, 3
_FLAGS: Final = {
    "avx_vnni": (1, _EAX, 4),
    "avx512_bf16": (1, _EAX, 5),
    "amx_bf16": (0, _EDX, 22),
    "amx_tile": (0, _EDX, 24),
    "amx_int8": (0, _EDX, 25),
}
_GLIBC_LEAVES: Final = {0: 1, 1: 6}  # where glibc's <sys/platform/x86.h> puts these subleaves
_STATES: Final = {"avx_vnni": 0x6, "avx512_bf16": 0xE6, "amx_bf16": 0x60000, "amx_tile": 0x60000, "amx_int8": 0x60000}
"""Bits of XCR0: the registers that the system must save before a flag is worth anything."""

_OSXSAVE: Final = 27
_MOVE_TO_EAX: Final = {_EAX: b"\x89\xc0", _ECX: b"\x89\xc8", _EDX: b"\x89\xd0"}
_READ_XCR0: Final = b"\x31\xc9\x0f\x01\xd0\xc3"  # xor ecx, ecx; xgetbv; ret


class _Leaf(ctypes.Structure):
    _fields_ = (("cpuid", ctypes.c_uint * 4), ("active", ctypes.c_uint * 4))


def asked_of_glibc() -> set[str] | None:
    """Those of the flags that glibc found usable as the process began; None without a glibc of 2.33 or newer."""
    if sys.platform != "linux":
        return None
    try:
        ask = ctypes.CDLL(None).__x86_get_cpuid_feature_leaf
    except AttributeError:
        return None
    ask.restype, ask.argtypes = ctypes.POINTER(_Leaf), (ctypes.c_uint,)
    leaves = {subleaf: ask(index).contents.active for subleaf, index in _GLIBC_LEAVES.items()}
    return {flag for flag, (subleaf, register, bit) in _FLAGS.items() if leaves[subleaf][register] >> bit & 1}


def asked_of_the_cpu() -> set[str] | None:
    """Those of the flags that CPUID tells and the system saves the registers of; None where no code may be made.

    The code takes no arguments, so every calling convention runs it. Call it on 64-bit x86 alone.
    """
    try:
        with _executable() as (room, call):

            def run(code: bytes) -> int:
                ctypes.memmove(room, code, len(code))
                return call()

            def cpuid(leaf: int, subleaf: int, register: int) -> int:
                asked = b"\xb8" + leaf.to_bytes(4, "little") + b"\xb9" + subleaf.to_bytes(4, "little")
                return run(b"\x53" + asked + b"\x0f\xa2" + _MOVE_TO_EAX[register] + b"\x5b\xc3")

            if cpuid(0, 0, _EAX) < 7 or not cpuid(1, 0, _ECX) >> _OSXSAVE & 1:
                return set()
            saved, subleaves = run(_READ_XCR0), cpuid(7, 0, _EAX)
            return {
                flag
                for flag, (subleaf, register, bit) in _FLAGS.items()
                if subleaf <= subleaves
                and cpuid(7, subleaf, register) >> bit & 1
                and saved & _STATES[flag] == _STATES[flag]
            }
    except OSError:  # hardened systems give no memory that can be both written and run
        return None


if sys.platform == "win32":

    @contextmanager
    def _executable() -> Iterator[tuple[int, Callable[[], int]]]:
        """The address of a page of memory, and the function that lies there and returns 32 bits."""
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.VirtualAlloc.restype = ctypes.c_void_p
        address = kernel.VirtualAlloc(None, ctypes.c_size_t(mmap.PAGESIZE), 0x3000, 0x40)  # committed; read, write, run
        if not address:
            raise ctypes.WinError(ctypes.get_last_error())
        try:
            yield _at(address)
        finally:
            kernel.VirtualFree(ctypes.c_void_p(address), ctypes.c_size_t(0), 0x8000)

else:

    @contextmanager
    def _executable() -> Iterator[tuple[int, Callable[[], int]]]:
        """The address of a page of memory, and the function that lies there and returns 32 bits."""
        with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
            first = ctypes.c_char.from_buffer(page)
            try:
                yield _at(ctypes.addressof(first))
            finally:
                del first  # an exported buffer keeps the page open


def _at(address: int) -> tuple[int, Callable[[], int]]:
    return address, ctypes.CFUNCTYPE(ctypes.c_uint)(address)
