"""What is released: a wheel and an sdist that are whole, checked, and the same bytes from every build."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import onnxpress

ROOT = Path(__file__).parents[2]
PACKAGES = ("engine/onnxpress", "export/onnxpress_export", "bench/onnxpress_bench")
SOURCES = ("engine", "export", "bench", "tests", "docs", "examples")


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"] and project["project"]["dynamic"] == ["version"]
    file = ROOT / project["tool"]["hatch"]["version"]["path"]
    assert f'__version__ = "{onnxpress.__version__}"' in file.read_text().splitlines()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the tools that `make wheels` pins."""
    folder = tmp_path_factory.mktemp("tools")
    venv.create(folder, with_pip=True)
    found = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pinned = [word for word in (ROOT / "Makefile").read_text().split() if word.startswith(("build==", "twine=="))]
    assert len(pinned) == 2
    pip = [found, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, *pinned], check=True, timeout=300)
    return found


def build(python: Path, folder: Path, *, umask: int, year: int) -> dict[str, bytes]:
    """What a build in a copy of the sources gives, by name; files of another age and other permissions."""
    folder.mkdir()
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    for file in folder.rglob("*"):
        os.utime(file, (year * 31_556_952,) * 2)
    own = umask if os.name == "posix" else -1
    subprocess.run([python, "-m", "build"], cwd=folder, check=True, timeout=600, capture_output=True, umask=own)
    return {file.name: file.read_bytes() for file in (folder / "dist").iterdir()}


@pytest.mark.slow
@pytest.mark.network
def test_builds_are_checked_whole_and_equal(python: Path, tmp_path: Path) -> None:
    first = build(python, tmp_path / "first", umask=0o022, year=40)
    second = build(python, tmp_path / "second", umask=0o077, year=50)
    assert sorted(first) == [f"onnxpress-{onnxpress.__version__}{end}" for end in ("-py3-none-any.whl", ".tar.gz")]
    assert first == second
    dist = tmp_path / "first/dist"
    subprocess.run([python, "-m", "twine", "check", "--strict", *dist.iterdir()], check=True, timeout=120)

    (wheel,) = dist.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = {
        str(file.relative_to(ROOT / package.partition("/")[0]))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert held == {name.replace(os.sep, "/") for name in tracked}
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"constraints.txt", "Makefile", "LICENSE", "tests/conftest.py", "docs/artifact.md"} <= names

    venv.create(tmp_path / "clean", with_pip=True)
    own = tmp_path / "clean" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([own, "-m", "pip", "--quiet", "install", "--no-deps", "--no-index", wheel], check=True, timeout=120)
    code = (
        "import importlib.metadata as m; print(m.version('onnxpress'), len(m.entry_points(group='onnxpress.commands')))"
    )
    told = subprocess.run([own, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert told.split() == [onnxpress.__version__, "3"]
