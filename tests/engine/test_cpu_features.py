"""What the CPU can, and which it is, on every system."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from onnxpress.hardware import cpu_features as features
from onnxpress.hardware import cpu_name
from onnxpress.hardware.cpu_features import SIMD, cpu_features
from onnxpress.hardware.cpuid import asked_of_glibc, asked_of_the_cpu

X86 = platform.machine().lower() in ("x86_64", "amd64")


@pytest.fixture(autouse=True)
def fresh() -> object:
    cached = (cpu_features, cpu_name._cpuinfo, cpu_name._named)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def test_features_are_named_once_in_a_fixed_order() -> None:
    found = cpu_features()
    assert list(found) == [name for name in SIMD if name in found]
    assert found or not X86


@pytest.mark.skipif(not X86, reason="CPUID is an instruction of x86")
def test_glibc_and_the_cpu_itself_say_the_same() -> None:
    told = asked_of_the_cpu()
    assert told is not None
    if (glibc := asked_of_glibc()) is not None:
        assert glibc == told


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo, on metal")
@pytest.mark.skipif(not X86, reason="Linux's names of an x86")
def test_on_metal_linux_says_the_same() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split())
    assert set(cpu_features()) == flags & set(SIMD)


@pytest.mark.skipif(not X86, reason="CPUID is an instruction of x86")
@pytest.mark.parametrize("glibc", [None, {"avx_vnni", "amx_int8"}, set()])
def test_without_glibc_the_cpu_is_asked(monkeypatch: pytest.MonkeyPatch, glibc: set[str] | None) -> None:
    monkeypatch.setattr(features, "_asked_of_numpy", dict)
    monkeypatch.setattr(features, "asked_of_glibc", lambda: glibc)
    monkeypatch.setattr(features, "asked_of_the_cpu", lambda: {"amx_bf16"})
    assert set(cpu_features()) == ({"amx_bf16"} if glibc is None else glibc)


@pytest.mark.skipif(not X86, reason="CPUID is an instruction of x86")
def test_a_system_that_forbids_new_code_leaves_what_numpy_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("onnxpress.hardware.cpuid.mmap.mmap", refused)
    monkeypatch.setattr(features, "asked_of_glibc", lambda: None)
    monkeypatch.setattr(features, "_asked_of_numpy", lambda: {"AVX2": True, "AVX512VNNI": True, "SSE41": False})
    assert asked_of_the_cpu() is None
    assert cpu_features() == ("avx2", "avx512_vnni")


def test_a_numpy_that_hides_its_findings_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy._core._multiarray_umath", None)
    assert features._asked_of_numpy() == {}


GRAVITON_3 = """processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd40
CPU revision\t: 1
"""
BIG_LITTLE = GRAVITON_3 + "\n" + GRAVITON_3.replace("0xd40", "0xd41").replace("variant\t: 0x1", "variant\t: 0x3")
XEON = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Processor
stepping\t: 8
cpu MHz\t\t: 2600.000
"""


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    def write(content: str | bytes) -> None:
        file = tmp_path / "cpuinfo"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        monkeypatch.setattr(cpu_name, "_CPUINFO", file)
        monkeypatch.setattr(cpu_name.sys, "platform", "linux")
        for function in (cpu_name._cpuinfo, cpu_name._named):
            function.cache_clear()

    return write


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (XEON, "Intel(R) Xeon(R) Processor"),
        (GRAVITON_3, "ARM 0x41/0xd40 r1p1"),
        (BIG_LITTLE, "ARM 0x41/0xd40 r1p1 + 0x41/0xd41 r3p1"),
    ],
)
def test_a_processor_is_named(linux: object, content: str, name: str) -> None:
    linux(content)  # type: ignore[operator]
    assert cpu_name.cpu_model() == name


@pytest.mark.parametrize("content", ["", "nonsense", b"\xff\xfe\x00", ":\n:\n"])
def test_nonsense_is_no_error(linux: object, content: str | bytes) -> None:
    linux(content)  # type: ignore[operator]
    assert cpu_name.cpu_model() and cpu_name.cpu_identity()


def test_processors_of_the_same_name_differ_by_their_numbers(linux: object) -> None:
    seen = set()
    contents = (
        XEON,
        XEON.replace("143", "207"),
        XEON.replace("stepping\t: 8", "stepping\t: 7"),
        GRAVITON_3,
        GRAVITON_3.replace("0xd40", "0xd4f"),
        BIG_LITTLE,
    )
    for content in contents:
        linux(content)  # type: ignore[operator]
        seen.add(tuple(cpu_name.cpu_identity()))
    assert len(seen) == len(contents)


def test_what_changes_by_the_second_is_left_out(linux: object) -> None:
    linux(XEON)  # type: ignore[operator]
    before = cpu_name.cpu_identity()
    linux(XEON.replace("2600.000", "800.123"))  # type: ignore[operator]
    assert cpu_name.cpu_identity() == before


def test_macos_is_asked_for_its_brand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_name.sys, "platform", "darwin")
    monkeypatch.setattr(cpu_name, "_brand_of_macos", lambda: "Apple M2 Pro")
    assert cpu_name.cpu_model() == "Apple M2 Pro" and "Apple M2 Pro" in cpu_name.cpu_identity()
