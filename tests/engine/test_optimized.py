"""Graphs saved as ONNX Runtime optimized them here answer as the artifact's do, or are not used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import onnxpress
from onnxpress import opening
from onnxpress.artifacts.artifact import open_artifact
from onnxpress.hardware import local_key, machine
from onnxpress.sessions.session import Session
from onnxpress.tuned import optimized
from onnxpress.tuned.optimized import optimized_path, save_optimized
from tests.conftest import edit_json
from tests.export.precision.conftest import int8_artifact, sample

__all__ = ["int8_artifact", "sample"]  # fixtures

GRAPH, WEIGHTS, INDEX = "model_cpu.onnx", "model_cpu.onnx_data", "index.json"


@pytest.fixture
def own(artifact: Path, tmp_path: Path) -> Path:
    """A copy of the artifact with its graphs saved beside it."""
    path = Path(shutil.copytree(artifact, tmp_path / "artifact"))
    save(path)
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The directories that sessions take their weights from, in the order of their opening."""
    folders: list[Path] = []

    class Spy(Session):
        def __init__(self, graph: bytes, folder: Path, *, optimized: bool = False, **settings: object) -> None:
            assert optimized == folder.name.endswith(".optimized")
            folders.append(folder)
            super().__init__(graph, folder, optimized=optimized, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(opening, "Session", Spy)
    return folders


def save(path: Path, precision: str = "fp32") -> Path:
    artifact = open_artifact(path)
    return save_optimized(artifact, artifact.variant(precision))


def logits(path: Path, texts: list[str], precision: str = "fp32") -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of batches of equal length, and of texts of different lengths at once."""
    with onnxpress.load(path, precision=precision) as classifier:
        mixed = classifier.mixed()
        return classifier.logits(texts), mixed.run(mixed.encode(texts))


def require_ignored(path: Path, opened: list[Path], caplog: pytest.LogCaptureFixture, reason: str | None) -> None:
    """The artifact's own graph is loaded, and what is wrong is told once, or nothing is where nothing is wrong."""
    caplog.clear()
    for _ in range(2):
        opened.clear()
        with onnxpress.load(path) as classifier:
            assert opened == [path] and len(classifier.logits(["good"])) == 1
    told = [(record.name, record.levelname, record.getMessage()) for record in caplog.records]
    if reason is None:
        assert told == []
    else:
        ((name, level, message),) = told
        assert (name, level) == ("onnxpress", "WARNING") and "\n" not in message
        assert message.startswith("the artifact's own graph is loaded: ") and reason in message
        assert message.endswith("Run `onnxpress tune` again.")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_answers_are_equal_bit_by_bit(
    int8_artifact: Path, tmp_path: Path, texts: list[str], opened: list[Path], precision: str
) -> None:
    path = Path(shutil.copytree(int8_artifact, tmp_path / "artifact"))
    before = logits(path, texts, precision)
    assert opened == [path, path]
    folder = save(path, precision)
    opened.clear()
    after = logits(path, texts, precision)
    assert opened == [folder, folder]
    assert [found.tobytes() for found in after] == [wanted.tobytes() for wanted in before]


def test_graphs_share_weights_that_are_laid_out_alike(own: Path) -> None:
    names = sorted(path.name for path in optimized_path(own, "fp32").iterdir())
    assert names == [INDEX, GRAPH, WEIGHTS, "model_packed.onnx"]


@pytest.mark.parametrize(
    ("version", "laid_out"),
    [("1.23.2", False), ("1.31.1", False), ("1.32.0", True), ("1.33.0.dev1", True), ("2.0", True), ("?", False)],
)
def test_weights_are_laid_out_only_where_onnxruntime_can_run_such(
    monkeypatch: pytest.MonkeyPatch, version: str, laid_out: bool
) -> None:
    monkeypatch.setattr(local_key.import_onnxruntime(), "__version__", version)
    assert optimized._may_lay_out() is laid_out


def test_without_laying_out_the_optimized_graphs_are_saved_all_the_same(
    artifact: Path, tmp_path: Path, texts: list[str], opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copytree(artifact, tmp_path / "artifact"))
    before = logits(path, texts)
    monkeypatch.setattr(optimized, "_may_lay_out", lambda: False)
    folder = save(path)
    opened.clear()
    after = logits(path, texts)
    assert opened == [folder, folder]
    assert [found.tobytes() for found in after] == [wanted.tobytes() for wanted in before]


def test_the_artifacts_own_weights_are_not_needed_then(own: Path, opened: list[Path]) -> None:
    (own / "model.onnx_data").unlink()
    onnxpress.load(own).close()
    assert opened == [optimized_path(own, "fp32")]


def test_a_linked_artifact_finds_them(own: Path, opened: list[Path], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/link").symlink_to(own)
    onnxpress.load(tmp_path / "elsewhere/link").close()
    assert opened == [optimized_path(own, "fp32")]


@pytest.mark.parametrize("position", [0, 0.5, 1])
@pytest.mark.parametrize("name", [GRAPH, WEIGHTS])
def test_one_changed_bit_is_told_and_ignored(
    own: Path, opened: list[Path], caplog: pytest.LogCaptureFixture, name: str, position: float
) -> None:
    file = optimized_path(own, "fp32") / name
    content = bytearray(file.read_bytes())
    content[int(position * (len(content) - 1))] ^= 1
    file.write_bytes(content)
    require_ignored(own, opened, caplog, f"{name}: is not as it was saved.")


@pytest.mark.parametrize("size", [0, 10])
@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, INDEX])
def test_a_truncated_file_is_told_and_ignored(
    own: Path, opened: list[Path], caplog: pytest.LogCaptureFixture, name: str, size: int
) -> None:
    os.truncate(optimized_path(own, "fp32") / name, size)
    require_ignored(own, opened, caplog, f"{name}: ")


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS])
def test_a_missing_file_is_told_and_ignored(
    own: Path, opened: list[Path], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    (optimized_path(own, "fp32") / name).unlink()
    require_ignored(own, opened, caplog, f"{name}: cannot be read")


@pytest.mark.parametrize("content", [b"[]", b"[" * 100_000, b"\xff\xfe", b'{"key": ""}', b'{"key": 1, "files": {}}'])
def test_a_damaged_index_is_told_and_ignored(
    own: Path, opened: list[Path], caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (optimized_path(own, "fp32") / INDEX).write_bytes(content)
    require_ignored(own, opened, caplog, f"{INDEX}: cannot be read")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are Unix's")
@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, INDEX])
def test_a_pipe_is_ignored_and_nobody_waits_for_it(
    own: Path, opened: list[Path], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    (optimized_path(own, "fp32") / name).unlink()
    os.mkfifo(optimized_path(own, "fp32") / name)
    require_ignored(own, opened, caplog, None if name == INDEX else f"{name}: is not as it was saved.")


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS])
def test_a_link_out_of_the_directory_is_told_and_ignored(
    own: Path, opened: list[Path], caplog: pytest.LogCaptureFixture, tmp_path: Path, name: str
) -> None:
    file = optimized_path(own, "fp32") / name
    shutil.move(file, tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    require_ignored(own, opened, caplog, f"{name}: is not as it was saved.")


@pytest.mark.parametrize("location", ["../outside", "/etc/hostname", "link", "missing", "nul\0"])
def test_weights_outside_the_directory_are_refused_even_when_indexed(
    own: Path, opened: list[Path], caplog: pytest.LogCaptureFixture, tmp_path: Path, location: str
) -> None:
    folder = optimized_path(own, "fp32")
    shutil.copy(folder / WEIGHTS, tmp_path / "outside")
    (folder / "link").symlink_to(tmp_path / "outside")
    model = onnx.load(folder / GRAPH, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    onnx.save(model, folder / GRAPH)
    index_again(folder, **{GRAPH: folder / GRAPH, location: tmp_path / "outside"})
    require_ignored(own, opened, caplog, location.rstrip("\0"))


@pytest.mark.parametrize("content", [b"nonsense", b""])
def test_indexed_nonsense_is_told_and_ignored(
    own: Path, opened: list[Path], caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    folder = optimized_path(own, "fp32")
    (folder / GRAPH).write_bytes(content)
    index_again(folder, **{GRAPH: folder / GRAPH})
    caplog.clear()
    onnxpress.load(own).close()
    (record,) = caplog.records
    assert "Run `onnxpress tune` again." in record.getMessage() and opened[-1] == own


def index_again(folder: Path, **changed: Path) -> None:
    """Write the checksums of changed files into the index, as someone who wants to deceive would."""

    def index(content: dict[str, object]) -> None:
        for name, file in changed.items():
            record = optimized._record_of(file)
            content["files"][name] = {"bytes": record.bytes, "crc32": record.crc32}  # type: ignore[index]

    edit_json(folder / INDEX, index)


def test_what_was_saved_elsewhere_or_of_another_artifact_is_ignored(
    own: Path, opened: list[Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[tuple[object, str, object]] = [
        (local_key, "cpu_identity", lambda: ["another"]),
        (local_key, "vector_extensions", lambda: ["another"]),
        (local_key.import_onnxruntime(), "__version__", "1.0"),
        (optimized, "DISABLED_OPTIMIZERS", {"cpu": []}),
        (optimized, "saturates", lambda _: True),
    ]
    for place, name, value in changes:
        with monkeypatch.context() as patch:
            patch.setattr(place, name, value)
            require_ignored(own, opened, caplog, None)
    manifest = own / "onnxpress.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    require_ignored(own, opened, caplog, None)
    assert save(own) == optimized_path(own, "fp32")
    opened.clear()
    onnxpress.load(own).close()
    assert opened == [optimized_path(own, "fp32")]


def test_what_a_stranger_put_there_is_ignored(
    own: Path, opened: list[Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, stat = optimized_path(own, "fp32"), Path.stat

    def of_a_stranger(path: Path, **options: bool) -> os.stat_result:
        found = list(stat(path, **options))
        return os.stat_result((*found[:4], found[4] + 4_321, *found[5:])) if path == folder else stat(path, **options)

    monkeypatch.setattr(Path, "stat", of_a_stranger)
    require_ignored(own, opened, caplog, None)


def test_precisions_are_saved_side_by_side(int8_artifact: Path, tmp_path: Path, opened: list[Path]) -> None:
    path = Path(shutil.copytree(int8_artifact, tmp_path / "artifact"))
    folder = save(path, "int8")
    onnxpress.load(path, precision="fp32").close()
    onnxpress.load(path, precision="int8").close()
    assert opened == [path, folder]


def test_products_that_would_overflow_are_not_saved_as_if_they_would_not(
    int8_artifact: Path, tmp_path: Path, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copytree(int8_artifact, tmp_path / "artifact"))
    folder = save(path, "int8")
    monkeypatch.setattr(machine, "int8_target", lambda: "avx2")
    onnxpress.load(path, precision="int8").close()
    save(path, "int8")
    onnxpress.load(path, precision="int8").close()
    assert opened == [path, folder]


def fail_to_open(*_: object, **__: object) -> None:
    raise RuntimeError("no space left\non the device")


def answer_otherwise(self: Session, inputs: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    return np.zeros((len(inputs["input_ids"]), self.label_count), dtype=np.float32)


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (
            lambda patch: patch.setattr("onnxruntime.InferenceSession", fail_to_open),
            onnxpress.ArtifactError,
            r"model_cpu.onnx: ONNX Runtime cannot save what it makes of it \(no space left on the device\)",
        ),
        (
            lambda patch: patch.setattr(Session, "run", answer_otherwise),
            onnxpress.CheckFailedError,
            "model_cpu.onnx: what ONNX Runtime saved answers otherwise",
        ),
        (lambda patch: patch.setattr(optimized, "_record_of", full), OSError, "No space left"),
        (lambda patch: patch.setattr(Path, "rename", full), OSError, "No space left"),
    ],
)
@pytest.mark.parametrize("there", [False, True])
def test_a_save_that_fails_changes_nothing(
    own: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: bool,
    change: Callable[[pytest.MonkeyPatch], None],
    error: type[Exception],
    told: str,
) -> None:
    if not there:
        shutil.rmtree(optimized_path(own, "fp32"))
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    with monkeypatch.context() as patch, pytest.raises(error, match=told):
        change(patch)
        save(own)
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_changed_artifact_is_not_saved(own: Path) -> None:
    os.truncate(own / "model.onnx_data", 10)
    with pytest.raises(onnxpress.ArtifactIntegrityError, match="has changed since the export"):
        save(own)


def test_a_save_that_another_overtakes_leaves_the_others(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, rename = optimized_path(own, "fp32"), Path.rename

    def overtaken(path: Path, to: Path) -> Path:
        moved = rename(path, to)
        if path == target:
            shutil.copytree(to, target)
            (target / "the other's").touch()
        return moved

    monkeypatch.setattr(Path, "rename", overtaken)
    assert save(own) == target and (target / "the other's").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "artifact.fp32.optimized"]


def test_processes_that_save_at_once_end_well(own: Path, tmp_path: Path, opened: list[Path]) -> None:
    shutil.rmtree(optimized_path(own, "fp32"))
    code = (
        "import sys; from pathlib import Path\n"
        "from onnxpress.artifacts.artifact import open_artifact; from onnxpress.tuned.optimized import save_optimized\n"
        "artifact = open_artifact(Path(sys.argv[1]))\n"
        "for _ in range(10): save_optimized(artifact, artifact.variant('fp32'))"
    )

    def run(_: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, own], capture_output=True, text=True, timeout=60)

    with ThreadPoolExecutor(2) as pool:
        assert [done.stderr for done in pool.map(run, range(2))] == ["", ""]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "artifact.fp32.optimized"]
    onnxpress.load(own).close()
    assert opened == [optimized_path(own, "fp32")]
