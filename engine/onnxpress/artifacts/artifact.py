"""Reading an artifact's files: only those inside it, and only as they were exported."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from onnxpress.artifacts.external_data import external_files
from onnxpress.artifacts.manifest import FileRecord, Manifest, Variant, read_manifest
from onnxpress.errors import ArtifactError, ArtifactIntegrityError, ConfigError, PrecisionUnavailableError
from onnxpress.sessions.session import Device

__all__ = ["PRECISIONS", "Artifact", "file_inside", "open_artifact", "record_of"]

_CHUNK: Final = 2**20
_PRECISIONS: Final = ("fp32", "fp16", "int8")
PRECISIONS: Final[dict[Device, tuple[str, ...]]] = {"cpu": ("int8", "fp32"), "cuda": ("fp16", "fp32")}
"""What runs on each device, the fastest first, as far as it is known beforehand."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """An opened artifact, whose files are handed out once they have been proved unchanged."""

    path: Path
    manifest: Manifest

    def verified(self, name: str) -> Path:
        """The path of the file `name`, after hashing it against the manifest in constant memory.

        What is read by that path afterwards may be another file; `read` and `held` leave no such gap.

        Raises:
            ArtifactIntegrityError: The file is missing, or has changed. It may be a link, as in the Hub's cache: what
                it leads to is what was exported.
        """
        path, file = self._open(name)
        with file:
            self._require_unchanged(name, _record_of(file))
        return path

    def read(self, name: str) -> bytes:
        """The content of the file `name`, which is what was hashed. Raises as `verified`."""
        _, file = self._open(name)
        with file:
            if os.fstat(file.fileno()).st_size != self.manifest.files[name].bytes:  # perhaps too large to be read
                self._require_unchanged(name, _record_of(file))
            content = file.read()
        self._require_unchanged(name, FileRecord(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)))
        return content

    @contextmanager
    def held(self, names: Collection[str]) -> Iterator[None]:
        """For a block that opens the files `names` by their paths: they are hashed, and must still be there after it.

        Raises:
            ArtifactIntegrityError: As `verified`; or one was replaced or written to in the meantime.
        """
        with ExitStack() as stack:
            hashed: list[tuple[Path, BinaryIO, tuple[int, ...]]] = []
            for name in names:
                path, file = self._open(name)
                stack.enter_context(file)
                before = _identity(os.fstat(file.fileno()))
                self._require_unchanged(name, _record_of(file))
                hashed.append((path, file, before))
            yield
            for path, file, before in hashed:
                if not _identity(os.fstat(file.fileno())) == before == _identity_at(path):
                    raise ArtifactIntegrityError(path, "was replaced while it was loaded. Load it again.")

    def is_replaced(self) -> bool:
        """Whether another artifact, or none, is at its path by now."""
        try:
            return read_manifest(self.path) != self.manifest
        except (ArtifactError, OSError):
            return True

    def _open(self, name: str) -> tuple[Path, BinaryIO]:
        """The file `name`, open, and its path, links followed."""
        path = self.path / name
        if name not in self.manifest.files:
            raise ArtifactIntegrityError(path, "is not among the artifact's files. Export again.")
        try:
            real = path.resolve(strict=True)
            if not real.is_file():
                raise ArtifactIntegrityError(path, "is not a file inside the artifact. Export again.")
            return real, real.open("rb")
        except (OSError, RuntimeError) as error:
            raise ArtifactIntegrityError(path, f"cannot be read ({error}). Export again.") from error

    def _require_unchanged(self, name: str, found: FileRecord) -> None:
        if found != (expected := self.manifest.files[name]):
            raise ArtifactIntegrityError(
                self.path / name,
                f"has changed since the export ({found.bytes:,} bytes, SHA-256 {found.sha256[:12]}…; exported with "
                f"{expected.bytes:,} bytes, {expected.sha256[:12]}…). Export again.",
            )

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
        """The variant of `precision` for `device`; "auto" is the fastest that the artifact holds for it.

        None is taken so that was measured to be no faster than fp32.

        Raises:
            ConfigError: There is no such precision, or it does not run on `device`.
            PrecisionUnavailableError: The artifact holds no such variant.
        """
        held = {variant.precision: variant for variant in self.manifest.variants}
        usable = PRECISIONS[device]
        if precision == "auto":
            paying = (held[name] for name in usable if name in held and not _is_slower(held[name]))
            return next(paying, self.manifest.variants[0])
        if precision not in _PRECISIONS:
            raise ConfigError(f"precision must be auto, {' or '.join(_PRECISIONS)}, got {precision!r}")
        if precision not in usable:
            raise ConfigError(f"{precision} does not run on {device}, which takes {' or '.join(usable)}")
        if precision not in held:
            raise PrecisionUnavailableError(
                self.path, f"holds no {precision} variant (it has {', '.join(held)}). Pass precision='auto'."
            )
        return held[precision]


def _is_slower(variant: Variant) -> bool:
    """Whether it was measured to be no faster than fp32."""
    return variant.fidelity is not None and variant.fidelity.speed is not None and variant.fidelity.speed <= 1


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
    with path.open("rb") as file:
        return _record_of(file)


def _record_of(file: BinaryIO) -> FileRecord:
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return FileRecord(sha256=digest.hexdigest(), bytes=size)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Which file it is, and when it was last written to."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _identity_at(path: Path) -> tuple[int, ...] | None:
    try:
        return _identity(path.stat())
    except OSError:
        return None
