"""The engine's tests hold on the oldest onnxruntime that is allowed and on the newest there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
FLOOR = EXTRAS["cpu"][0].partition(">=")[2]
PAGE = (ROOT / "docs/machines.md").read_text()


def test_the_page_names_the_floor() -> None:
    assert EXTRAS["cpu"] == [f"onnxruntime>={FLOOR}"]
    assert re.fullmatch(r"1\.\d+", FLOOR) and f"**onnxruntime** {FLOOR} or newer" in PAGE
    (gpu,) = EXTRAS["gpu"]
    assert gpu.replace(">=", " ") in PAGE


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("wanted", [f"=={FLOOR}.*", ""], ids=["oldest", "newest"])
def test_the_engines_tests_hold(wanted: str, tmp_path: Path) -> None:
    """The wheel lies in a folder of its own, before the other one on the path."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--target", tmp_path / "runtime", f"onnxruntime{wanted}"], check=True, timeout=300)
    path = os.pathsep.join(filter(None, (str(tmp_path / "runtime"), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not slow and not network and not cuda", "tests/engine"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=1_800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4_000:]
    assert " passed" in done.stdout
