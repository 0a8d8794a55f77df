"""The sample's profile in the artifact: a baseline for whatever is scored later."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress.artifacts.manifest import read_manifest
from onnxpress.watching.profile import PROFILE_NAME, model_of, read_profile
from onnxpress_export import export
from tests.conftest import WORDS


def drawn(count: int, seed: int, words: tuple[str, ...] = WORDS[:45]) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(words, size)) for size in generator.integers(4, 30, count)]


@pytest.fixture(scope="module")
def watched(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported with 1,500 texts, ten of which the sample holds four times."""
    folder = tmp_path_factory.mktemp("watched")
    texts = drawn(1_500, 1)
    (folder / "sample.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts + texts[:10] * 3))
    export(checkpoint, folder / "artifact", sample=folder / "sample.jsonl")
    return folder / "artifact"


def profiled(artifact: Path, texts: list[str], folder: Path, name: str) -> Path:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    onnxpress.score(artifact, folder / f"{name}.jsonl", folder / f"{name}.csv", profile=folder / f"{name}.json")
    return folder / f"{name}.json"


def drift(*arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onnxpress", "drift", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_it_is_that_of_a_job_that_scores_the_sample(watched: Path, tmp_path: Path) -> None:
    manifest, own = read_manifest(watched), read_profile(watched)
    assert PROFILE_NAME in manifest.files and own.model == model_of(manifest) and own.texts == 1_530
    sample = [json.loads(line)["text"] for line in (watched.parent / "sample.jsonl").read_text().splitlines()]
    assert read_profile(profiled(watched, sample, tmp_path, "sample")) == own


def test_the_artifact_is_a_baseline(watched: Path, tmp_path: Path) -> None:
    same, other = (
        profiled(watched, drawn(1_500, 2), tmp_path, "same"),
        profiled(watched, ["§ wit"] * 500, tmp_path, "x"),
    )
    done = drift(watched, same)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert drift(watched, other).returncode == 1


def test_it_is_hashed_like_every_file(watched: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(watched, tmp_path / "artifact")
    (copy / PROFILE_NAME).write_bytes((copy / PROFILE_NAME).read_bytes().replace(b"1530", b"1531", 1))
    with pytest.raises(onnxpress.ArtifactIntegrityError, match=r"profile\.json: has changed since the export"):
        read_profile(copy)


def test_without_a_sample_there_is_none(artifact: Path, tmp_path: Path) -> None:
    assert PROFILE_NAME not in read_manifest(artifact).files
    done = drift(artifact, artifact)
    assert done.returncode == 2 and "the artifact holds no profile" in done.stderr
