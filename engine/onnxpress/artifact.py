"""Reading an artifact's files: only those inside it, and only as they were exported."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from onnxpress.errors import ArtifactIntegrityError, ConfigError, PrecisionUnavailableError
from onnxpress.external_data import external_files
from onnxpress.manifest import FileRecord, Manifest, Variant, read_manifest
from onnxpress.session import Device

__all__ = ["Artifact", "file_inside", "open_artifact", "record_of"]

_CHUNK: Final = 2**20
_PRECISIONS: Final = ("fp32", "fp16", "int8")
_FASTEST_FIRST: Final[dict[Device, tuple[str, ...]]] = {"cpu": ("int8", "fp32"), "cuda": ("fp16", "fp32")}


@dataclass(frozen=True, slots=True)
class Artifact:
    """An opened artifact, whose files are handed out once they have been proved unchanged."""

    path: Path
    manifest: Manifest

    def verified(self, name: str) -> Path:
        """The path of the file `name`, after hashing it against the manifest in constant memory.

        Raises:
            ArtifactIntegrityError: The file is missing, or has changed. It may be a link, as in the Hub's cache: what
                it leads to is what was exported.
        """
        path, expected = self.path / name, self.manifest.files[name]
        try:
            found = record_of(path) if path.resolve(strict=True).is_file() else None
        except (OSError, RuntimeError) as error:
            raise ArtifactIntegrityError(path, f"cannot be read ({error}). Export again.") from error
        if found is None:
            raise ArtifactIntegrityError(path, "is not a file inside the artifact. Export again.")
        if found != expected:
            raise ArtifactIntegrityError(
                path,
                f"has changed since the export ({found.bytes:,} bytes, SHA-256 {found.sha256[:12]}…; exported with "
                f"{expected.bytes:,} bytes, {expected.sha256[:12]}…). Export again.",
            )
        return path

    def read(self, name: str) -> bytes:
        """The content of the file `name`, once `verified`."""
        return self.verified(name).read_bytes()

    def read_graph(self, name: str, weights: Collection[str]) -> bytes:
        """The content of the ONNX file `name`, once `verified`, which takes data from no file but `weights`.

        Raises:
            ArtifactIntegrityError: As `verified`; or it is no ONNX file, or names another file.
        """
        content = self.read(name)
        try:
            foreign = sorted(external_files(content) - set(weights))
        except ValueError as error:
            raise ArtifactIntegrityError(self.path / name, f"is not an ONNX graph ({error}). Export again.") from error
        if foreign:
            raise ArtifactIntegrityError(
                self.path / name,
                f"takes weights from {foreign[0]!r}, no file of the artifact. Export again.",
            )
        return content

    def folder_of(self, names: Collection[str]) -> Path | None:
        """The one folder that holds the files `names`, links followed; None where links give them other names.

        ONNX Runtime takes weights from inside one folder alone.
        """
        real = [(self.path / name).resolve() for name in names]
        folders = {path.parent for path in real} or {self.path.resolve()}
        same = [path.name for path in real] == list(names) and len(folders) == 1
        return folders.pop() if same else None

    def variant(self, precision: str, device: Device = "cpu") -> Variant:
        """The variant of `precision` for `device`; "auto" is the fastest of those that the artifact holds for it.

        Raises:
            ConfigError: There is no such precision, or it does not run on `device`.
            PrecisionUnavailableError: The artifact holds no such variant.
        """
        held = {variant.precision: variant for variant in self.manifest.variants}
        usable = _FASTEST_FIRST[device]
        if precision == "auto":
            return next((held[name] for name in usable if name in held), self.manifest.variants[0])
        if precision not in _PRECISIONS:
            raise ConfigError(f"precision must be auto, {' or '.join(_PRECISIONS)}, got {precision!r}")
        if precision not in usable:
            raise ConfigError(f"{precision} does not run on {device}, which takes {' or '.join(usable)}")
        if precision not in held:
            raise PrecisionUnavailableError(
                self.path, f"holds no {precision} variant (it has {', '.join(held)}). Pass precision='auto'."
            )
        return held[precision]


def open_artifact(path: Path) -> Artifact:
    """Open the artifact in the directory `path`: its manifest is read, no other file yet.

    Raises:
        ArtifactNotFoundError: There is none.
        ArtifactSchemaError: Its manifest cannot be read.
    """
    return Artifact(path, read_manifest(path))


def file_inside(folder: Path, name: str) -> Path | None:
    """The file `name` of `folder`, links followed; None where it is no file, or where links lead out of `folder`.

    Raises:
        OSError: There is none.
        RuntimeError: Links lead in a circle.
    """
    path = (folder / name).resolve(strict=True)
    return path if path.is_file() and path.parent == folder.resolve() else None


def record_of(path: Path) -> FileRecord:
    """Size and SHA-256 of the file at `path`, read in constant memory."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileRecord(sha256=digest.hexdigest(), bytes=size)
