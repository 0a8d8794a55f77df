"""Tuning is measured, kept, found again where it holds, and used."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

import onnxpress
from onnxpress import loading
from onnxpress.artifacts.artifact import open_artifact
from onnxpress.hardware import local_key
from onnxpress.hardware.cpu import available_cpus
from onnxpress.settings import Settings
from onnxpress.tuned import tuning
from onnxpress.tuned.tuning import Measured, Tuning, find_tuning, tune, tuning_path, write_tuning
from tests.cli.test_commands import refusal, run
from tests.conftest import edit_json


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


def require_ignored(own: Path) -> None:
    assert find_tuning(own, "fp32") is None
    with onnxpress.load(own) as classifier:
        assert (classifier.workers, classifier.max_tokens) == (1, 512)


DAMAGED = [b"", b"{", b"[]", b'{"fp32": {"key": 1}}', b"\xff\xfe", b'{"\xff": 1}', b"[" * 100_000, b'{"a":' * 100_000]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_is_no_tuning(own: Path, content: bytes) -> None:
    tuning_path(own).write_bytes(content)
    require_ignored(own)
    made = kept(own)
    assert find_tuning(own, "fp32") == made, "it is replaced"


NONSENSE: list[dict[str, object]] = [
    {"max_tokens": 0},
    {"max_tokens": -1},
    {"max_tokens": 2**62},
    {"workers": 0},
    {"workers": -2},
    {"threads": 0},
    {"threads": 10**9},
    {"workers": 1_000, "threads": 1_000},
    {"threads": 1.5},
    {"milliseconds": -1.0},
    {"milliseconds": None},
]


@pytest.mark.parametrize("purpose", ["latency", "throughput"])
@pytest.mark.parametrize("change", NONSENSE, ids=str)
def test_settings_out_of_every_range_are_no_tuning(own: Path, purpose: str, change: dict[str, object]) -> None:
    kept(own)
    edit_json(tuning_path(own), lambda found: found["fp32"][purpose][0].update(change))  # type: ignore[index]
    require_ignored(own)


@pytest.mark.parametrize("purpose", ["latency", "throughput"])
def test_a_tuning_without_settings_is_none(own: Path, purpose: str) -> None:
    kept(own)
    edit_json(tuning_path(own), lambda found: found["fp32"].update({purpose: []}))  # type: ignore[attr-defined]
    require_ignored(own)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are Unix's")
def test_a_pipe_is_no_tuning_and_nobody_waits_for_it(own: Path) -> None:
    os.mkfifo(tuning_path(own))
    require_ignored(own)
    made = kept(own)
    assert find_tuning(own, "fp32") == made


@pytest.mark.parametrize("kind", ["directory", "loop", "dangling", "device", "huge", "unreadable"])
def test_what_is_no_small_file_is_no_tuning(own: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tuning_path(own)
    if kind == "directory":
        path.mkdir()
    elif kind == "huge":
        kept(own)
        path.write_bytes(path.read_bytes() + b" " * 2**20)
    elif kind == "unreadable":
        path.touch()
        monkeypatch.setattr("onnxpress.tuned.beside.open_without_waiting", forbid)
    else:
        path.symlink_to({"loop": path, "dangling": own / "nowhere", "device": "/dev/zero"}[kind])
    require_ignored(own)


def forbid(*_: object) -> int:
    raise PermissionError(13, "Permission denied")


def test_a_strangers_tuning_is_not_believed(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = kept(own), os.fstat

    def of_a_stranger(descriptor: int) -> os.stat_result:
        found = list(real(descriptor))
        return os.stat_result((*found[:4], found[4] + 4_321, *found[5:]))

    with monkeypatch.context() as patch:
        patch.setattr("onnxpress.tuned.beside.os", SimpleNamespace(**{**vars(os), "fstat": of_a_stranger}))
        require_ignored(own)
    assert find_tuning(own, "fp32") == made


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are Unix's")
def test_others_may_read_it_as_far_as_the_umask_lets_them(own: Path) -> None:
    before = os.umask(0o022)
    try:
        kept(own)
        assert tuning_path(own).stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("settings", "problem", "tuned"),
    [
        ({}, None, False),
        ({"device": "cuda"}, None, False),
        ({"device": "cuda:1"}, "no driver", False),
        ({"device": "cpu"}, None, True),
        ({"precision": "int8"}, None, True),
        ({}, "no driver", True),
    ],
)
def test_cuda_takes_no_batch_size_of_the_cpus(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], problem: str | None, tuned: bool
) -> None:
    best = setting(3, 1, 256)
    found = Tuning(key="", precision="fp32", latency=(best,), throughput=(best,))
    monkeypatch.setattr(loading, "find_tuning", lambda *_: found)
    monkeypatch.setattr(loading, "cuda_problem", lambda: problem)
    monkeypatch.setattr(
        "onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    opened = open_artifact(artifact)
    monkeypatch.setattr(type(opened), "variant", lambda *_: opened.manifest.variants[0])
    assert loading.share_cpus(opened, Settings(**settings))[2] == (256 if tuned else None)  # type: ignore[arg-type]


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
