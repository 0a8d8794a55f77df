"""Every Python that is supported and installed here gives the same answers, in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import onnxpress

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSIONS = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if "Python :: 3." in name]
SCRIPT = """
import asyncio, json, sys
import onnxpress
artifact, texts, folder = sys.argv[1], json.load(sys.stdin), sys.argv[2]
with onnxpress.load(artifact, optimize_for="throughput") as classifier:
    logits = classifier.logits(texts).tolist()
    with onnxpress.ThreadedClassifier(classifier) as service:
        served = [service.classify(text).label for text in texts[:20]]

async def ask():
    with onnxpress.load(artifact) as classifier:
        async with onnxpress.AsyncClassifier(classifier) as service:
            return [answer.label for answer in await asyncio.gather(*map(service.classify, texts[:20]))]

print(json.dumps({"python": sys.version, "logits": logits, "threaded": served, "asynchronous": asyncio.run(ask())}))
"""


def interpreter(version: str) -> str | None:
    """A Python of `version`, found on the path, by uv or by pyenv, that runs."""
    found = [shutil.which(f"python{version}")]
    if (uv := shutil.which("uv")) is not None:
        asked = subprocess.run([uv, "python", "find", version], capture_output=True, text=True, check=False)
        found.append(asked.stdout.strip())
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found += map(str, sorted((home / "versions").glob(f"{version}.*/bin/python")))
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    for candidate in filter(None, found):
        done = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return candidate
    return None


def test_the_least_is_what_the_package_requires() -> None:
    assert PROJECT["requires-python"] == f">={VERSIONS[0]}"
    assert VERSIONS == [f"3.{minor}" for minor in range(11, 11 + len(VERSIONS))]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True, timeout=300)
    (found,) = folder.glob("onnxpress-*.whl")
    return found


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("version", VERSIONS)
def test_answers_are_the_same(version: str, wheel: Path, artifact: Path, texts: list[str], tmp_path: Path) -> None:
    if (python := interpreter(version)) is None:
        pytest.skip(f"no Python {version} is installed here")
    subprocess.run([python, "-m", "venv", tmp_path / "env"], check=True, timeout=120)
    own = tmp_path / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = [own, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "-c", ROOT / "constraints.txt"]
    subprocess.run([*install, f"{wheel}[cpu,score,metrics]"], check=True, timeout=600)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*arguments: str | Path) -> str:
        done = subprocess.run(
            [own, *arguments],
            cwd=tmp_path,
            env=clean,
            input=json.dumps(texts),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    found = json.loads(run("-W", "error", "-c", SCRIPT, artifact, tmp_path))
    assert found["python"].startswith(f"{version}.")
    with onnxpress.load(artifact, optimize_for="throughput") as classifier:
        wanted, labels = classifier.logits(texts), [answer.label for answer in classifier(texts[:20])]
    np.testing.assert_allclose(found["logits"], wanted, rtol=0, atol=1e-6)  # numpy of another version casts alike
    assert found["threaded"] == found["asynchronous"] == labels

    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:20]))
    run("-m", "onnxpress", "score", artifact, "texts.jsonl", "scored.parquet")
    answers = [json.loads(line) for line in run("-m", "onnxpress", "predict", artifact, *texts[:20]).splitlines()]
    assert (tmp_path / "scored.parquet").is_file() and [answer["label"] for answer in answers] == labels
