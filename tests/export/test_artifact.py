"""An artifact appears whole or not at all, and replaces only what it may."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest

import onnxpress
from onnxpress.artifacts.manifest import MANIFEST_NAME, read_manifest
from onnxpress_export import ExportReport, export, exporter
from onnxpress_export.artifact import staged_directory


def test_an_artifact_holds_what_its_readers_expect(artifact: Path) -> None:
    assert {path.name for path in artifact.iterdir()} == {
        MANIFEST_NAME,
        "config.json",
        "model.onnx",
        "model.onnx_data",
        "model_cpu.onnx",
        "model_packed.onnx",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_both_graphs_are_valid_onnx_over_one_weights_file(artifact: Path, report: ExportReport) -> None:
    inputs = {}
    for name in ("model.onnx", "model_cpu.onnx"):
        onnx.checker.check_model(str(artifact / name))
        model = onnx.load(artifact / name, load_external_data=False)
        external = [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
        assert external
        assert {e.value for t in external for e in t.external_data if e.key == "location"} == {"model.onnx_data"}
        inputs[name] = [value.name for value in model.graph.input]
        assert [value.name for value in model.graph.output] == ["logits"]
    assert inputs == {
        "model.onnx": ["input_ids", "attention_mask", "token_type_ids"],
        "model_cpu.onnx": ["input_ids", "token_type_ids"],
    }
    assert report.manifest.inputs == ("input_ids", "attention_mask", "token_type_ids")


def test_the_portable_graph_loads_with_onnxruntimes_defaults(artifact: Path) -> None:
    session = onnxruntime.InferenceSession(artifact / "model.onnx", providers=["CPUExecutionProvider"])
    assert {value.type for value in session.get_inputs()} == {"tensor(int64)"}


def test_nothing_in_an_artifact_tells_of_the_machine(artifact: Path, checkpoint: Path) -> None:
    for path in artifact.iterdir():
        content = path.read_bytes()
        assert str(checkpoint.parent).encode() not in content, path.name
        assert not re.search(rb"site-packages|\.py\b", content), path.name


def test_the_manifest_is_the_report(artifact: Path, report: ExportReport) -> None:
    assert read_manifest(artifact) == report.manifest


def test_an_existing_output_is_kept(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact/precious.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(onnxpress.OutputExistsError, match="exists already"):
            export(checkpoint, tmp_path / "artifact", force=force)
    assert (tmp_path / "artifact/precious.txt").read_text() == "mine"


@pytest.mark.usefixtures("traced_once")
def test_force_replaces_an_artifact_only_when_the_new_one_is_whole(
    checkpoint: Path, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Path(shutil.copytree(artifact, tmp_path / "artifact"))
    (output / "left-over").write_text("old")
    with monkeypatch.context() as broken:
        broken.setattr(exporter, "write_manifest", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            export(checkpoint, output, force=True)
    assert (output / "left-over").exists() and list(tmp_path.iterdir()) == [output]
    export(checkpoint, output, force=True)
    assert not (output / "left-over").exists() and list(tmp_path.iterdir()) == [output]
    assert onnxpress.load(output)("good film").label


@pytest.mark.usefixtures("traced_once")
def test_an_interrupted_export_leaves_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporter, "check_parity", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(checkpoint, tmp_path / "deep/er/artifact")
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    assert not (tmp_path / "deep/er/artifact").exists()


def test_others_may_read_the_artifact_as_any_new_directory(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert stat.S_IMODE(artifact.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_what_appears_at_the_output_meanwhile_is_kept(tmp_path: Path, kind: str, force: bool) -> None:
    output, elsewhere = tmp_path / "artifact", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with (
        pytest.raises(onnxpress.OutputExistsError, match=str(output)),
        staged_directory(output, force=force) as staging,
    ):
        (staging / MANIFEST_NAME).write_text("new")
        if kind == "directory":
            output.mkdir()
            (output / "precious").write_text("mine")
        elif kind == "file":
            output.write_text("mine")
        else:
            output.symlink_to(elsewhere)
    assert sorted(tmp_path.iterdir()) == [output, elsewhere]
    if kind == "directory":
        assert (output / "precious").read_text() == "mine"


def test_of_two_exports_to_one_place_the_second_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    with pytest.raises(onnxpress.OutputExistsError), staged_directory(output) as late:
        (late / "of").write_text("late")
        with staged_directory(output) as early:
            (early / "of").write_text("early")
    assert (output / "of").read_text() == "early" and list(tmp_path.iterdir()) == [output]


def test_the_old_artifact_is_put_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "artifact"
    output.mkdir()
    (output / MANIFEST_NAME).write_text("old")
    rename = Path.rename

    def fails_for_the_new(self: Path, target: Path) -> Path:
        if ".onnxpress-" in self.name:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_for_the_new)
    with pytest.raises(OSError, match="Input/output"), staged_directory(output, force=True) as staging:
        (staging / MANIFEST_NAME).write_text("new")
    assert (output / MANIFEST_NAME).read_text() == "old" and list(tmp_path.iterdir()) == [output]


def test_an_old_artifact_is_never_lost_even_where_it_cannot_be_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "artifact"
    output.mkdir()
    (output / MANIFEST_NAME).write_text("old")
    rename = Path.rename

    def only_away(self: Path, target: Path) -> Path:
        if self != output:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", only_away)
    with pytest.raises(OSError, match="Input/output"), staged_directory(output, force=True) as staging:
        (staging / MANIFEST_NAME).write_text("new")
    assert [path.read_text() for path in tmp_path.rglob(MANIFEST_NAME)] == ["old"]


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from onnxpress_export.artifact import staged_directory\n"
        "with staged_directory(Path(sys.argv[1])): os._exit(9)"
    )
    output = tmp_path / "artifact"
    subprocess.run([sys.executable, "-c", code, str(output)], check=False, timeout=120)
    (left,) = tmp_path.iterdir()
    os.utime(left, (0, 0))
    with staged_directory(output) as other:
        assert not left.exists()
        os.utime(other, (0, 0))
        with pytest.raises(onnxpress.OutputExistsError), staged_directory(output):
            assert other.exists()  # its process is at work
            output.mkdir()
        output.rmdir()
    assert list(tmp_path.iterdir()) == [output]


def test_a_signal_to_end_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "onnxpress", "export", str(checkpoint), str(tmp_path / "artifact")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "writing the graphs" in line:
                process.send_signal(signal.SIGTERM)
        status = process.wait(120)
    assert status == 128 + signal.SIGTERM and not list(tmp_path.iterdir())
