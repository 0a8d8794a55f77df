"""Tuning is measured, kept, found again where it holds, and used."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

import onnxpress
from onnxpress import local_key, tuning
from onnxpress.cpu import available_cpus
from onnxpress.tuning import Measured, Tuning, find_tuning, tune, tuning_path, write_tuning
from tests.cli.test_commands import refusal, run


@pytest.fixture
def own(artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact, tmp_path / "artifact"))


def setting(workers: int, threads: int, max_tokens: int) -> Measured:
    return Measured(workers=workers, threads=threads, max_tokens=max_tokens, milliseconds=1.0)


def kept(artifact: Path, precision: str = "fp32") -> Tuning:
    made = Tuning(
        key=tuning._key(artifact), precision=precision, latency=(setting(1, 3, 128),), throughput=(setting(3, 1, 64),)
    )
    write_tuning(artifact, made)
    return made


def test_every_way_to_share_the_threads_is_measured(artifact: Path, texts: list[str]) -> None:
    steps: list[str] = []
    found = tune(artifact, onnxpress.load, texts, precision="fp32", cpus=2, on_step=steps.append)
    assert {(s.workers, s.threads) for s in found.latency} == {(1, 1), (1, 2)}
    assert {(s.workers, s.threads) for s in found.throughput} == {(1, 2), (2, 1)}
    assert {s.max_tokens for s in found.throughput} == {256, 512, 1_024, 2_048}
    for settings in (found.latency, found.throughput):
        times = [s.milliseconds for s in settings]
        assert times == sorted(times) and times[0] > 0
    assert any("round 3 of 3" in step for step in steps)


def test_load_takes_it_unless_told_otherwise(own: Path) -> None:
    kept(own)
    with onnxpress.load(own) as latency, onnxpress.load(own, optimize_for="throughput") as throughput:
        assert (latency.workers, latency.max_tokens) == (1, 128)
        assert (throughput.workers, throughput.max_tokens) == (3, 64)
    with onnxpress.load(own, max_tokens=99, optimize_for="throughput") as said:
        assert (said.workers, said.max_tokens) == (available_cpus(), 99)


def test_another_machine_or_artifact_is_another_tuning(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = kept(own)
    assert find_tuning(own, "fp32") == made and find_tuning(own, "int8") is None
    with monkeypatch.context() as patch:
        patch.setattr(local_key, "cpu_identity", lambda: ["another"])
        assert find_tuning(own, "fp32") is None
    manifest = own / "onnxpress.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    assert find_tuning(own, "fp32") is None


def test_precisions_are_kept_side_by_side_and_old_ones_dropped(own: Path) -> None:
    first = kept(own)
    write_tuning(own, msgspec.structs.replace(first, precision="int8", key="of another artifact"))
    second = kept(own, "int8")
    assert find_tuning(own, "int8") == second and find_tuning(own, "fp32") is None
    third = kept(own)
    assert (find_tuning(own, "int8"), find_tuning(own, "fp32")) == (second, third)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"fp32": {"key": 1}}'])
def test_a_damaged_file_is_no_tuning(own: Path, content: bytes) -> None:
    tuning_path(own).write_bytes(content)
    assert find_tuning(own, "fp32") is None
    with onnxpress.load(own) as classifier:
        assert classifier.max_tokens == 512


def test_the_command_measures_and_keeps(own: Path, tmp_path: Path) -> None:
    done = run("tune", own)
    assert done.returncode == 0, done.stderr.decode()
    assert "kept in artifact.tuning.json" in done.stdout.decode()
    assert find_tuning(own, "fp32") is not None
    assert "optimized graphs saved in artifact.fp32.optimized, 0." in done.stdout.decode()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["artifact", "artifact.fp32.optimized", "artifact.tuning.json"]


def test_what_cannot_be_is_told(own: Path, tmp_path: Path) -> None:
    assert "nowhere: no such directory" in refusal("tune", "nowhere")
    assert "holds no int8 variant" in refusal("tune", own, "--precision", "int8")
    (tmp_path / "one.txt").write_text("good\n")
    assert "at least 2 texts, got 1" in refusal("tune", own, "--sample", tmp_path / "one.txt")
    with pytest.raises(onnxpress.ConfigError, match="threads must be a multiple of workers, got 4 for 3"):
        onnxpress.load(own, threads=4, workers=3)
