"""ONNX Runtime keeps and sends nothing, in any process that the project starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from onnxpress.cli.doctor import diagnose
from onnxpress.sessions.session import import_onnxruntime

START = (
    "import onnxpress, subprocess, sys; subprocess.run([sys.executable, '-c', "
    "'import onnxruntime as o, sys; o.InferenceSession(sys.argv[1])', sys.argv[1] + '/model.onnx'], check=True)"
)
CLASSIFY = "import sys, onnxpress; print(onnxpress.load(sys.argv[1], threads=1)('good').label)"
PROCESSES = {
    "the engine": [sys.executable, "-c", CLASSIFY, "{artifact}"],
    "onnxruntime imported too": [
        sys.executable,
        "-c",
        f"import onnxpress, onnxruntime; {CLASSIFY}",
        "{artifact}",
    ],
    "the exporter's modules": [sys.executable, "-c", f"import onnxpress_export.verify; {CLASSIFY}", "{artifact}"],
    "a process that it starts": [sys.executable, "-c", START, "{artifact}"],
    "predict": [sys.executable, "-m", "onnxpress", "predict", "{artifact}", "good"],
    "score": [sys.executable, "-m", "onnxpress", "score", "{artifact}", "{home}/in.csv", "{home}/out.csv"],
    "doctor": [sys.executable, "-m", "onnxpress", "doctor"],
}


def environment(home: Path, **changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    return {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), **changes}


def files_under(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("process", PROCESSES)
def test_no_file_is_written(artifact: Path, tmp_path: Path, process: str) -> None:
    (tmp_path / "in.csv").write_text("text\ngood\n")
    command = [part.format(artifact=artifact, home=tmp_path) for part in PROCESSES[process]]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert files_under(tmp_path) <= {"in.csv", "out.csv"}


def test_a_home_that_cannot_be_written_is_no_trouble(artifact: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    command = [sys.executable, "-c", CLASSIFY, str(artifact)]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert files_under(home) == set()


@pytest.mark.parametrize("value", ["0", "1", ""])
def test_what_the_user_has_set_stays(value: str, tmp_path: Path) -> None:
    code = "import onnxpress, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    settings = environment(tmp_path, ORT_DISABLE_TELEMETRY=value)
    found = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=True)
    assert found.stdout.rstrip("\n") == value


def test_doctor_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "onnxpress", "doctor", "--json"]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, check=True)
    assert json.loads(done.stdout)["telemetry"] == "off: ONNX Runtime keeps and sends nothing"
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    assert diagnose().telemetry.startswith("left as ONNX Runtime has it: ORT_DISABLE_TELEMETRY is '0'")


@pytest.mark.parametrize(("value", "calls"), [("1", 1), ("TRUE", 1), ("0", 0), ("", 0)])
def test_events_end_where_onnxruntime_was_there_before(monkeypatch: pytest.MonkeyPatch, value: str, calls: int) -> None:
    called: list[int] = []
    monkeypatch.setattr("onnxruntime.disable_telemetry_events", lambda: called.append(1))
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", value)
    import_onnxruntime()
    assert len(called) == calls
