"""Which processor this is, by name and by its makers' numbers."""

from __future__ import annotations

import ctypes
import platform
import re
import sys
from functools import cache
from pathlib import Path
from typing import Final

from onnxpress.system import kernel_file

__all__ = ["cpu_identity", "cpu_model"]

_CPUINFO: Final = Path("/proc/cpuinfo")
_BRAND: Final = b"machdep.cpu.brand_string"
_REGISTRY: Final = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_X86: Final = ("vendor_id", "cpu family", "model", "model name", "stepping", "cache size")
_ARM: Final = ("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision")


def cpu_model() -> str:
    """The processor's name; an ARM's cores under Linux, which gives them none, by implementer and part."""
    return _named() or _arm_cores(_cpuinfo()) or platform.processor() or platform.machine()


def cpu_identity() -> list[str]:
    """What tells this processor from others: system, architecture, name, and each kind of core that it has.

    A processor of large and small cores has several. Clocks and other things that change are left out.
    """
    kinds = {
        " ".join(f"{name}={value}" for name, value in _core(text) if name in (*_X86, *_ARM))
        for text in _cpuinfo().split("\n\n")
    }
    return [platform.system(), platform.machine(), cpu_model(), *sorted(kinds - {""})]


@cache
def _named() -> str:
    if sys.platform == "darwin":
        return _brand_of_macos()
    if sys.platform == "win32":
        return _brand_of_windows()
    return dict(_core(_cpuinfo())).get("model name", "")


def _arm_cores(cpuinfo: str) -> str:
    """Such as "ARM 0x41/0xd0c r3p1": the implementer, part and revision of each kind of core; empty without one."""
    kinds = set()
    for text in cpuinfo.split("\n\n"):
        core = dict(_core(text))
        if (part := core.get("CPU part")) is not None:
            variant = int(core.get("CPU variant", "0"), 0)
            kinds.add(f"{core.get('CPU implementer', '?')}/{part} r{variant}p{core.get('CPU revision', '?')}")
    return f"ARM {' + '.join(sorted(kinds))}" if kinds else ""


def _core(text: str) -> list[tuple[str, str]]:
    """Names and values of one core's lines in /proc/cpuinfo, last line first: the first of a name is told last."""
    return [(name.strip(), value.strip()) for name, value in re.findall(r"^([^:\n]+):(.*)$", text, re.MULTILINE)][::-1]


@cache
def _cpuinfo() -> str:
    return kernel_file(_CPUINFO)


def _brand_of_macos() -> str:
    brand, size = ctypes.create_string_buffer(256), ctypes.c_size_t(256)
    failed = ctypes.CDLL(None).sysctlbyname(_BRAND, brand, ctypes.byref(size), None, 0)
    return "" if failed else brand.value.decode(errors="replace")


def _brand_of_windows() -> str:
    if sys.platform != "win32":
        return ""
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _REGISTRY) as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    except OSError:
        return ""
