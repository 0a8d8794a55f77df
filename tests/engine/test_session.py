"""Devices are what was asked for, or an error says why not."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import onnxruntime
import pytest

import onnxpress
from onnxpress.sessions.session import resolve_device, session_options

NO_CUDA = "(no NVIDIA driver|a CUDA library is missing)"


@pytest.fixture
def with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime built for CUDA, on a machine without a driver."""
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])


@pytest.mark.usefixtures("without_cuda")
def test_cuda_without_its_wheel_is_refused_with_the_way_out(artifact: Path) -> None:
    with pytest.raises(onnxpress.DeviceUnavailableError, match=r"only CPUExecutionProvider.*onnxpress\[gpu\]"):
        onnxpress.load(artifact, device="cuda")


@pytest.mark.usefixtures("without_cuda")
def test_auto_without_cuda_is_the_cpu() -> None:
    assert resolve_device("auto") == ("cpu", 0)


@pytest.mark.usefixtures("with_cuda")
def test_the_wheel_for_cuda_decides() -> None:
    found = [resolve_device(device) for device in ("auto", "cuda", "cuda:3", "cpu")]
    assert found == [("cuda", 0), ("cuda", 0), ("cuda", 3), ("cpu", 0)]


@pytest.mark.usefixtures("with_cuda")
@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA works here")
def test_a_silent_fallback_to_the_cpu_is_refused(artifact: Path) -> None:
    with pytest.raises(
        onnxpress.DeviceUnavailableError,
        match=f"device 'cuda' is not available: {NO_CUDA}.*doctor",
    ):
        onnxpress.load(artifact, device="cuda")


@pytest.mark.usefixtures("with_cuda")
@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA works here")
def test_auto_falls_back_and_says_so(artifact: Path, caplog: pytest.LogCaptureFixture) -> None:
    with onnxpress.load(artifact, device="auto") as classifier:
        assert classifier.device == "cpu"
    assert re.search(f"running on the CPU: .*{NO_CUDA}", caplog.text)


def test_without_onnxruntime_the_extras_are_named(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(onnxpress.MissingDependencyError, match=r"onnxpress\[cpu\].*onnxpress\[gpu\]"):
        onnxpress.load(artifact)


def test_threads_that_spin_do_not_outlast_the_run() -> None:
    """Two sessions run in turns in a cascade: what the first one's threads spin is taken from the second."""
    entries = ("session.intra_op.allow_spinning", "session.intra_op.spin_duration_us", "session.force_spinning_stop")
    options = session_options(None, threads=2, spinning=True)
    assert [options.get_session_config_entry(name) for name in entries] == ["1", "50", "1"]
    assert session_options(None, threads=2, spinning=False).get_session_config_entry(entries[0]) == "0"
