"""Answers on CPUs that are not here, under QEMU's user mode, against this machine's.

Emulation proves arithmetic, not speed, and it has what QEMU has: no VNNI, AMX or I8MM.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from onnxpress.artifacts.manifest import Target
from onnxpress_export import export
from tests.conftest import WORDS
from tests.emulated.machines import ARM64_ONNXRUNTIME, arm64_python, x86_python

pytestmark = [
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.emulated,
    pytest.mark.skipif(sys.platform != "linux", reason="QEMU's user mode runs on Linux"),
]

SCRIPT = Path(__file__).with_name("answer.py")
TARGETS: tuple[Target, ...] = get_args(Target)
BUDGET = 0.06  # random weights hold answers badly
# Sums in another order, through two layers whose logits stay below ten.
FP32 = 1e-4
# A value that fp32 rounds otherwise may fall on the other side of a step of its integers, and some layers follow.
INT8 = 1e-2


@pytest.fixture(scope="module")
def asked(checkpoint: Path, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Artifacts for every target, and texts, as `answer.py` reads them."""
    folder, generator = tmp_path_factory.mktemp("emulated"), np.random.default_rng(9)
    rows = [" ".join(generator.choice(WORDS, size)) for size in generator.integers(2, 40, 400)]
    sample = folder / "sample.jsonl"
    sample.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    artifacts = {}
    for target in TARGETS:
        artifacts[target] = str(folder / target)
        export(
            checkpoint,
            folder / target,
            precisions=("fp32", "int8"),
            sample=sample,
            max_disagreement=BUDGET,
            int8_for=target,
        )
    return json.dumps({"artifacts": artifacts, "texts": texts[:60]})


@pytest.fixture(scope="module")
def here(asked: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, SCRIPT], input=asked, capture_output=True, text=True, check=True, timeout=300
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def require_equal(found: dict[str, Any], here: dict[str, Any]) -> None:
    """The labels of int8 are equal and its logits near, fp32's logits too."""
    assert found["answers"].keys() == here["answers"].keys()
    for name, answers in here["answers"].items():
        for road, logits in answers.items():
            wanted, got = np.array(logits), np.array(found["answers"][name][road])
            tolerance = FP32 if name.endswith("fp32") else INT8
            np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance, err_msg=f"{name}, {road}")
            np.testing.assert_array_equal(got.argmax(axis=1), wanted.argmax(axis=1), err_msg=f"{name}, {road}")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="runs this Python's own wheels")
@pytest.mark.parametrize(
    ("cpu", "extensions", "exact"),
    [
        ("Nehalem", ["sse4_1"], True),  # ONNX Runtime's SSE kernels widen first
        ("Haswell", ["sse4_1", "avx2"], False),
        ("Skylake-Server", ["sse4_1", "avx2"], False),  # QEMU 7.2 has no AVX-512
    ],
)
def test_an_x86_without_vnni_answers_as_this_machine(
    cpu: str, extensions: list[str], exact: bool, asked: str, here: dict[str, Any]
) -> None:
    if (python := x86_python()) is None:
        pytest.skip("qemu-user-static is not installed")
    found = json.loads(python.run(SCRIPT, cpu=cpu, stdin=asked, timeout=1_800))
    assert (found["extensions"], found["exact"]) == (extensions, exact)
    require_equal(found, here)


@pytest.mark.parametrize(("cpu", "extensions"), [("cortex-a57", ["asimd"]), ("neoverse-n1", ["asimd", "asimddp"])])
def test_an_arm64_answers_as_this_machine(cpu: str, extensions: list[str], asked: str, here: dict[str, Any]) -> None:
    if (python := arm64_python()) is None:
        pytest.skip("qemu-user-static or apt is not here")
    found = json.loads(python.run(SCRIPT, cpu=cpu, stdin=asked, timeout=1_800))
    assert found["onnxruntime"] == ARM64_ONNXRUNTIME
    assert (found["extensions"], found["exact"]) == (extensions, True)
    require_equal(found, here)


def test_the_tolerance_fails_sums_that_overflow(asked: str, here: dict[str, Any], tmp_path: Path) -> None:
    """What this test is for: with detection as by /proc/cpuinfo, an AVX2 CPU's sums saturate."""
    if (python := x86_python()) is None:
        pytest.skip("qemu-user-static is not installed")
    blind = tmp_path / "blind.py"
    line = "import onnxpress\n"
    assert line in SCRIPT.read_text()
    believing = f"{line}import onnxpress.loading\n\nonnxpress.loading.saturates = lambda target: False\n"
    blind.write_text(SCRIPT.read_text().replace(line, believing, 1))
    found = json.loads(python.run(blind, cpu="Haswell", stdin=asked, timeout=1_800))
    with pytest.raises(AssertionError, match=r"(vnni|arm64) int8"):
        require_equal(found, here)
