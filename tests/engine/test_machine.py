"""Which int8 products a machine has."""

from __future__ import annotations

import pytest

from onnxpress.hardware.machine import describe_machine, int8_target, vector_extensions


@pytest.mark.parametrize(
    ("extensions", "architecture", "target"),
    [
        (["avx2"], "x86_64", "avx2"),
        (["avx2", "avx512f"], "x86_64", "avx2"),
        (["avx2", "avx_vnni"], "AMD64", "vnni"),
        (["avx512f", "avx512_vnni"], "x86_64", "vnni"),
        (["asimd"], "aarch64", "arm64"),
        ([], "arm64", "arm64"),
        ([], "x86_64", "avx2"),  # not known: the sums that never overflow
    ],
)
def test_the_target_is_what_the_cpu_multiplies(extensions: list[str], architecture: str, target: str) -> None:
    assert int8_target(extensions, architecture) == target


def test_this_machine_is_described_by_the_same_facts() -> None:
    assert describe_machine().simd == vector_extensions()
    assert int8_target() in ("avx2", "vnni", "arm64")
