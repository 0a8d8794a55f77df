"""The wheel alone, with the cpu extra, is a working engine: no torch, transformers or onnx is there at all."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.network
def test_the_wheel_with_the_cpu_extra_classifies_without_torch(artifact: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True, timeout=300)
    (wheel,) = tmp_path.glob("onnxpress-*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env/bin/python"
    pip[0] = str(python)
    subprocess.run([*pip, "install", "-c", ROOT / "constraints.txt", f"{wheel}[cpu]"], check=True, timeout=300)

    def run(*arguments: str) -> str:
        done = subprocess.run([str(python), *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    absent = "import importlib.util as u; print([n for n in ('torch', 'transformers', 'onnx') if u.find_spec(n)])"
    assert run("-c", absent).strip() == "[]"
    answer = json.loads(run("-m", "onnxpress", "predict", str(artifact), "good film"))
    assert answer["label"] in ("negative", "positive")
    example = run(str(ROOT / "examples/classify.py"), str(artifact), "good film", "bad plot")
    assert len(example.splitlines()) == 2 and answer["label"] in example.splitlines()[0]
    done = subprocess.run([str(python), "-m", "onnxpress", "export", "a", "b"], capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'onnxpress[export]'" in done.stderr
