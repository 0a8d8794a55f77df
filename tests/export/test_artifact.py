"""An artifact appears whole or not at all, and replaces only what it may."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import onnx
import onnxruntime
import pytest

import onnxpress
from onnxpress.manifest import MANIFEST_NAME, read_manifest
from onnxpress_export import ExportReport, export, exporter


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


def test_force_replaces_an_artifact_only_when_the_new_one_is_whole(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "artifact"
    export(checkpoint, output)
    (output / "left-over").write_text("old")
    with monkeypatch.context() as broken:
        broken.setattr(exporter, "write_manifest", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            export(checkpoint, output, force=True)
    assert (output / "left-over").exists() and list(tmp_path.iterdir()) == [output]
    export(checkpoint, output, force=True)
    assert not (output / "left-over").exists() and list(tmp_path.iterdir()) == [output]
    assert onnxpress.load(output)("good film").label


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
