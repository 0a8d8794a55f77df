"""doctor names the int8 kernel that ONNX Runtime takes, and what its sums did."""

from __future__ import annotations

import pytest

from onnxpress.cli.doctor import _int8_words
from onnxpress.errors import MissingDependencyError
from onnxpress.hardware import int8_kernel
from onnxpress.hardware.int8_kernel import Int8Products, int8_products, kernel_of


@pytest.mark.parametrize(
    ("extensions", "architecture", "kernel"),
    [
        ([], "x86_64", "SSE (pmaddwd)"),
        (["sse4_1"], "x86_64", "SSE (pmaddwd)"),
        (["sse4_1", "avx2"], "AMD64", "AVX2 (vpmaddubsw)"),
        (["avx2", "avx_vnni"], "AMD64", "AVX-VNNI"),
        (["avx2", "avx512f"], "x86_64", "AVX2 (vpmaddubsw)"),
        (["avx2", "avx512f", "avx512bw"], "x86_64", "AVX-512 without VNNI (vpmaddubsw)"),
        # a hypervisor that hides half: ONNX Runtime looks at AVX-512 last, and takes it
        (["avx2", "avx512f", "avx512bw", "avx_vnni"], "x86_64", "AVX-512 without VNNI (vpmaddubsw)"),
        (["avx2", "avx512f", "avx512bw", "avx512_vnni"], "x86_64", "AVX-512 VNNI"),
        (["avx2", "avx512f", "avx512bw", "avx512_vnni", "amx_int8"], "x86_64", "AMX, int8 tiles"),
        (["asimd"], "aarch64", "NEON (smull)"),
        (["asimd", "asimddp"], "arm64", "dot products (sdot)"),
        (["asimd", "asimddp", "i8mm", "sve"], "aarch64", "I8MM (smmla)"),
        ([], "riscv64", "none that is known for riscv64"),
    ],
)
def test_the_kernel_is_the_first_that_the_cpu_has(extensions: list[str], architecture: str, kernel: str) -> None:
    assert kernel_of(extensions, architecture) == kernel


def test_this_machine_is_tried() -> None:
    found = int8_products()
    assert found.exact in (True, False) and found.slower_exact
    assert (found.target == "avx2") is (not found.exact)


def test_without_onnxruntime_the_names_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise MissingDependencyError("onnxruntime", ("cpu", "gpu"))

    monkeypatch.setattr(int8_kernel, "sums_are_exact", absent)
    monkeypatch.setattr(int8_kernel, "vector_extensions", lambda: ["avx2", "avx_vnni"])
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert int8_products() == Int8Products(kernel="AVX-VNNI", target="vnni", exact=None, slower_exact=None)


@pytest.mark.parametrize(
    ("exact", "slower", "says"),
    [
        (True, True, "sums are exact, tried. Export for vnni"),
        (False, True, "sums overflow, tried: slower ones stand in for an artifact of another target"),
        (False, False, "so do all others"),
        (None, None, "not tried without onnxruntime"),
    ],
)
def test_it_is_said_in_one_line(exact: bool | None, slower: bool | None, says: str) -> None:
    words = _int8_words(Int8Products(kernel="AVX-VNNI", target="vnni", exact=exact, slower_exact=slower))
    assert words.startswith("AVX-VNNI; ") and says in words and "\n" not in words
