"""`onnxpress doctor` says what runs here, and why not."""

from __future__ import annotations

import json
import subprocess
import sys

import onnxruntime
import pytest

from onnxpress.cli.doctor import diagnose
from onnxpress.errors import MissingDependencyError


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "onnxpress", "doctor", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_read_by_people_and_programs() -> None:
    found = json.loads(run("--json"))
    assert found["providers"] == onnxruntime.get_available_providers()
    assert found["machine"]["versions"]["onnxruntime"] == onnxruntime.__version__
    assert 1 <= found["machine"]["cpus"] <= found["host_cpus"]
    text = run()
    assert found["int8"]["kernel"] in " ".join(text.split()) and found["int8"]["slower_exact"]
    assert "cpu device" in text and "ready" in text and str(found["machine"]["cpus"]) in text
    if "CUDAExecutionProvider" not in found["providers"]:
        assert "onnxpress[gpu]" in found["problems"]["cuda"] and "onnxpress[gpu]" in "".join(text.split())


def test_without_onnxruntime_it_says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise MissingDependencyError("onnxruntime", ("cpu", "gpu"))

    monkeypatch.setattr("onnxpress.cli.doctor.import_onnxruntime", absent)
    found = diagnose()
    assert found.providers == [] and "onnxpress[cpu]" in found.problems["cpu"]
