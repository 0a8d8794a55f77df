"""An artifact is used exactly as it was exported, or not at all."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import onnx
import pytest

import onnxpress
from onnxpress.artifacts.artifact import record_of
from onnxpress.artifacts.manifest import MANIFEST_NAME, SCHEMA_VERSION, read_manifest
from tests.conftest import edit_json

LOADED = ("model_cpu.onnx", "model.onnx_data", "tokenizer.json")


@pytest.fixture
def copy(artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact, tmp_path / "copy"))


def sign_again(directory: Path, *names: str) -> None:
    """Write the hashes of changed files into the manifest, as someone who wants to deceive would."""

    def sign(manifest: dict[str, object]) -> None:
        for name in names:
            record = record_of(directory / name)
            manifest["files"][name] = {"sha256": record.sha256, "bytes": record.bytes}  # type: ignore[index]

    edit_json(directory / MANIFEST_NAME, sign)


@pytest.mark.parametrize("name", LOADED)
@pytest.mark.parametrize("position", [0, 0.5, 1])
def test_one_changed_byte_is_refused(copy: Path, name: str, position: float) -> None:
    content = bytearray((copy / name).read_bytes())
    content[int(position * (len(content) - 1))] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(onnxpress.ArtifactIntegrityError, match="has changed since the export") as caught:
        onnxpress.load(copy)
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("name", LOADED)
@pytest.mark.parametrize("size", [0, 10])
def test_a_truncated_file_is_refused(copy: Path, name: str, size: int) -> None:
    os.truncate(copy / name, size)
    with pytest.raises(onnxpress.ArtifactIntegrityError, match=f"{size} bytes"):
        onnxpress.load(copy)


@pytest.mark.parametrize("name", LOADED)
def test_a_missing_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(onnxpress.ArtifactIntegrityError, match="cannot be read"):
        onnxpress.load(copy)


@pytest.mark.parametrize("name", LOADED)
def test_a_link_is_followed_to_what_was_exported_and_to_nothing_else(copy: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.move(copy / name, tmp_path / "elsewhere" / name)
    (copy / name).symlink_to(tmp_path / "elsewhere" / name)
    with onnxpress.load(copy) as classifier:
        assert classifier("good film").label
    with (tmp_path / "elsewhere" / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(onnxpress.ArtifactIntegrityError, match="has changed since the export"):
        onnxpress.load(copy)


def test_the_hubs_cache_is_read_through_its_links(copy: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--a--b/blobs", tmp_path / "models--a--b/snapshots/0123"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for index, file in enumerate(sorted(copy.iterdir())):
        shutil.move(file, blobs / f"{index:064x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{index:064x}")
    with onnxpress.load(snapshot) as classifier, onnxpress.ThreadedClassifier(classifier) as service:
        assert service.classify("good film").label == classifier("good film").label


def test_a_mounted_volume_is_read_through_its_links(copy: Path, tmp_path: Path) -> None:
    """As Kubernetes lays out a ConfigMap or projected volume."""
    mount = tmp_path / "mount"
    (mount / "..2026_01_01").mkdir(parents=True)
    (mount / "..data").symlink_to("..2026_01_01")
    for file in sorted(copy.iterdir()):
        shutil.move(file, mount / "..2026_01_01" / file.name)
        (mount / file.name).symlink_to(f"..data/{file.name}")
    with onnxpress.load(mount) as classifier:
        assert classifier("good film").label


def test_a_directory_in_a_files_place_is_refused(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer.json").mkdir()
    with pytest.raises(onnxpress.ArtifactIntegrityError, match="is not a file"):
        onnxpress.load(copy)


@pytest.mark.parametrize("location", ["../outside", "/etc/hostname", "link", "missing"])
def test_weights_outside_the_artifact_are_refused_even_when_signed(copy: Path, tmp_path: Path, location: str) -> None:
    shutil.copy(copy / "model.onnx_data", tmp_path / "outside")
    (copy / "link").symlink_to(tmp_path / "outside")
    model = onnx.load(copy / "model_cpu.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    onnx.save(model, copy / "model_cpu.onnx")
    sign_again(copy, "model_cpu.onnx")
    with pytest.raises(onnxpress.ArtifactIntegrityError, match=r"takes weights from .* no file of the artifact"):
        onnxpress.load(copy)


def test_a_huge_declared_size_is_refused_even_when_signed(copy: Path) -> None:
    model = onnx.load(copy / "model_cpu.onnx", load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.external_data)
    tensor.dims[:] = [2**40, 2**20]
    for entry in tensor.external_data:
        if entry.key == "length":
            entry.value = str(2**62)
    onnx.save(model, copy / "model_cpu.onnx")
    sign_again(copy, "model_cpu.onnx")
    with pytest.raises(onnxpress.ArtifactIntegrityError, match="cannot load its graph"):
        onnxpress.load(copy)


@pytest.mark.parametrize("name", ["model_cpu.onnx", "tokenizer.json"])
def test_signed_nonsense_is_refused(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"nonsense")
    sign_again(copy, name)
    with pytest.raises(onnxpress.ArtifactIntegrityError):
        onnxpress.load(copy)


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(onnxpress.ArtifactNotFoundError, match="no such directory") as caught:
        onnxpress.load(tmp_path / "nowhere")
    assert isinstance(caught.value, FileNotFoundError)


def test_a_foreign_directory_is_told(checkpoint: Path) -> None:
    with pytest.raises(onnxpress.ArtifactNotFoundError, match="Make one with `onnxpress export`"):
        onnxpress.load(checkpoint)


def test_a_newer_schema_is_refused_whatever_else_it_holds(copy: Path) -> None:
    (copy / MANIFEST_NAME).write_text(f'{{"schema_version": {SCHEMA_VERSION + 1}, "novelty": []}}')
    with pytest.raises(onnxpress.ArtifactSchemaError, match=f"schema {SCHEMA_VERSION + 1} is newer"):
        onnxpress.load(copy)


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"{",
            b"[]",
            b"null",
            b"{}",
            b'{"schema_version": "1"}',
            b'{"schema_version": 1}',
            b"\xff\xfe",
            b"\0" * 64,
        ),
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"schema_version": 1, "labels": ' + b"[" * 100_000),
    ],
)
def test_a_malformed_manifest_is_refused(copy: Path, content: bytes) -> None:
    (copy / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(onnxpress.ArtifactSchemaError, match="not a valid manifest"):
        onnxpress.load(copy)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("labels", []),
        ("max_length", 0),
        ("problem_type", "clustering"),
        ("variants", []),
        ("files", {"../tokenizer.json": {"sha256": "0", "bytes": 1}}),
        ("files", {}),
        ("unknown", 1),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(copy: Path, field: str, value: object) -> None:
    edit_json(copy / MANIFEST_NAME, lambda manifest: manifest.update({field: value}))
    with pytest.raises(onnxpress.ArtifactSchemaError, match="not a valid manifest"):
        onnxpress.load(copy)


def test_labels_that_do_not_match_the_head_are_refused(copy: Path) -> None:
    edit_json(copy / MANIFEST_NAME, lambda manifest: manifest.update(labels=["a", "b", "c"]))
    with pytest.raises(onnxpress.ArtifactIntegrityError, match="3 labels"):
        onnxpress.load(copy)


def test_a_precision_that_is_not_there_is_told(artifact: Path) -> None:
    with pytest.raises(onnxpress.PrecisionUnavailableError, match="holds no int8 variant"):
        onnxpress.load(artifact, precision="int8")
    with onnxpress.load(artifact, precision="fp32") as classifier:
        assert classifier.precision == "fp32"


def test_the_manifest_lists_every_file(artifact: Path) -> None:
    manifest = read_manifest(artifact)
    assert set(manifest.files) == {path.name for path in artifact.iterdir()} - {MANIFEST_NAME}


@pytest.mark.parametrize("declared", [0, 2**40, 2**62, -5])
def test_a_declared_size_is_not_believed(copy: Path, declared: int) -> None:
    def declare(manifest: dict[str, object]) -> None:
        manifest["files"]["tokenizer.json"]["bytes"] = declared  # type: ignore[index]

    edit_json(copy / MANIFEST_NAME, declare)
    with pytest.raises(onnxpress.ArtifactIntegrityError, match="has changed since the export"):
        onnxpress.load(copy)


def test_a_file_that_the_manifest_does_not_name_is_not_read(copy: Path) -> None:
    edit_json(copy / MANIFEST_NAME, lambda manifest: manifest["files"].pop("config.json"))  # type: ignore[attr-defined]
    with onnxpress.load(copy) as classifier, pytest.raises(onnxpress.ArtifactIntegrityError, match="not among"):
        classifier.mixed()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[]", b"\xff", b"[" * 100_000])
def test_a_signed_configuration_that_is_none_is_refused(copy: Path, content: bytes) -> None:
    (copy / "config.json").write_bytes(content)
    sign_again(copy, "config.json")
    with onnxpress.load(copy) as classifier, pytest.raises(onnxpress.ArtifactIntegrityError, match="no configuration"):
        classifier.mixed()


@pytest.mark.parametrize(
    ("form", "kind"), [("zip", "zip"), ("tar", "tar"), ("gztar", "gzip"), ("bztar", "bzip2"), ("xztar", "xz")]
)
def test_an_archive_is_refused_with_the_reason(artifact: Path, tmp_path: Path, form: str, kind: str) -> None:
    packed = shutil.make_archive(str(tmp_path / "artifact"), form, artifact)
    renamed = Path(packed).rename(tmp_path / "artifact.onnxpress")  # by what it holds, not by its name
    with pytest.raises(onnxpress.ArtifactNotFoundError, match=f"a {kind} archive: unpack it"):
        onnxpress.load(renamed)


def test_a_file_and_a_pipe_are_no_artifact(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for path in (artifact / "model.onnx", artifact / MANIFEST_NAME, tmp_path / "empty"):
        with pytest.raises(onnxpress.ArtifactNotFoundError, match="a file, and an artifact is a directory"):
            onnxpress.load(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(onnxpress.ArtifactNotFoundError, match="an artifact is a directory"):
        onnxpress.load(tmp_path / "pipe")
