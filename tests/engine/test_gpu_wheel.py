"""onnxruntime's wheel for CUDA on a machine without a GPU: refused with the reason, or run on the CPU."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.skipif(sys.platform != "linux", reason="the driver is looked for by its name on Linux"),
    pytest.mark.skipif(ctypes.util.find_library("cuda") is not None, reason="there is a CUDA driver here"),
]


def test_without_a_driver_cuda_is_refused_and_auto_runs_on_the_cpu(artifact: Path, tmp_path: Path) -> None:
    """The wheel lies in a folder of its own, before the other one on the path; nothing is printed but by us."""
    folder = tmp_path / "gpu"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--target", str(folder), "onnxruntime-gpu>=1.25"], check=True)
    script = f"""
import onnxpress, onnxruntime
print("CUDAExecutionProvider" in onnxruntime.get_available_providers())
for device in ("cuda", "cuda:1"):
    try:
        onnxpress.load({str(artifact)!r}, device=device)
    except onnxpress.DeviceUnavailableError as error:
        print(error)
with onnxpress.load({str(artifact)!r}, device="auto") as classifier:
    print(classifier.device, classifier("good").label in classifier.labels)
"""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found, first, second, last = done.stdout.splitlines()
    assert (found, last) == ("True", "cpu True")
    assert first.startswith("device 'cuda' is not available: no NVIDIA driver (libcuda.so.1")
    assert second.startswith("device 'cuda:1' is not available: no NVIDIA driver")
    assert done.stderr.strip().splitlines()[-1].startswith("running on the CPU: device 'cuda' is not available")
    assert len(done.stderr.strip().splitlines()) == 1
