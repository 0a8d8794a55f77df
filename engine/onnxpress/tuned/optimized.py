"""The CPU's graphs as ONNX Runtime optimized them, their weights laid out for this CPU, kept beside the artifact.

A session that opens one has nothing left to optimize, and maps the weights into memory as its kernels want them, where
a session that opens the artifact's graph makes a copy of its own: processes share what is mapped.
"""

from __future__ import annotations

import re
from contextlib import suppress
from filecmp import cmp
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from zlib import crc32

import msgspec
import numpy as np

from onnxpress.artifacts.artifact import Artifact, file_inside
from onnxpress.artifacts.external_data import external_files
from onnxpress.artifacts.manifest import Graph, Variant
from onnxpress.errors import ArtifactError, ArtifactIntegrityError, CheckFailedError
from onnxpress.hardware.local_key import local_key
from onnxpress.hardware.machine import saturates
from onnxpress.sessions.session import DISABLED_OPTIMIZERS, PROVIDERS, Session, import_onnxruntime, session_options
from onnxpress.tuned.beside import owned_by_us, read_beside

__all__ = ["find_optimized", "optimized_path", "save_optimized"]

_INDEX: Final = "index.json"
_CHUNK: Final = 2**18
_SHARED_BYTES: Final = 1_024  # smaller constants stay in the graphs
_CHECKED_TOKENS: Final = 16
_LAYS_OUT: Final = (1, 32)
_AGAIN: Final = "Run `onnxpress tune` again."


class SavedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file was when it was saved.

    A checksum, which is read three times as fast as SHA-256: hashing would cost more than the saved graph gains. It
    finds damage. Against someone who may write here neither would help, for the index lies beside the files.
    """

    bytes: int
    crc32: int


class Index(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was saved, and where it holds.

    Attributes:
        key: Hash of all that graphs and layouts depend on.
        files: Every other file of the directory, by name.
    """

    key: str
    files: dict[str, SavedFile]


def optimized_path(artifact: Path, precision: str) -> Path:
    """The directory for the graphs of `precision`: beside the artifact, for they are this machine's."""
    return artifact.resolve().with_name(f"{artifact.resolve().name}.{precision}.optimized")


def find_optimized(artifact: Artifact, variant: Variant, graph: Graph) -> tuple[bytes, Path] | None:
    """What was saved of `graph`, a serialized model, and the directory of its weights, once their checksums hold.

    None where nothing was saved, or on another machine, of another artifact, or by a stranger.

    Raises:
        ArtifactIntegrityError: A file is damaged or missing, or lies outside the directory.
    """
    folder = optimized_path(artifact.path, variant.precision)
    try:
        content = read_beside(folder / _INDEX, artifact.path)
        if content is None or not owned_by_us(folder.stat(), artifact.path):
            return None
        index = msgspec.json.decode(content, type=Index)
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactIntegrityError(folder / _INDEX, f"cannot be read ({error}). {_AGAIN}") from error
    if index.key != _key(artifact, variant) or graph.file not in index.files:
        return None
    content = _verified(folder, graph.file, index).read_bytes()
    try:
        weights = external_files(content)
    except ValueError as error:
        raise ArtifactIntegrityError(folder / graph.file, f"is not an ONNX graph ({error}). {_AGAIN}") from error
    for name in sorted(weights):
        _verified(folder, name, index)
    return content, folder


def save_optimized(artifact: Artifact, variant: Variant) -> Path:
    """Save the CPU's graphs of `variant`, once they are proved to answer as the artifact's do, bit for bit.

    Takes as long as some loads, and up to one and a half times the size of the artifact's weights for each graph; once
    for both where these are laid out alike. Returns the directory, which appears by rename: it takes the place of the
    one before, and after an error, that stays.

    Raises:
        ArtifactError: The artifact is not as it was exported, or ONNX Runtime cannot save its graphs.
        CheckFailedError: A saved graph answers otherwise.
    """
    target = optimized_path(artifact.path, variant.precision)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        new = Path(scratch, "new")
        new.mkdir()
        for weights in variant.weights:
            artifact.verified(weights)
        shared = f"{variant.cpu.file}_data"
        _save(artifact, variant, variant.cpu, new, shared)
        if variant.packed is not None:
            trial = Path(scratch, "trial")
            trial.mkdir()
            _save(artifact, variant, variant.packed, trial, shared)
            if _equal(trial / shared, new / shared):
                (trial / variant.packed.file).rename(new / variant.packed.file)
            else:
                _save(artifact, variant, variant.packed, new, f"{variant.packed.file}_data")
        files = {path.name: _record_of(path) for path in sorted(new.iterdir())}
        index = msgspec.json.encode(Index(key=_key(artifact, variant), files=files))
        (new / _INDEX).write_bytes(msgspec.json.format(index, indent=1) + b"\n")
        _publish(new, target, retired=Path(scratch, "old"))
    return target


def _key(artifact: Artifact, variant: Variant) -> str:
    return local_key(artifact.path, *DISABLED_OPTIMIZERS["cpu"], f"saturates: {saturates(variant.target)}")


def _save(artifact: Artifact, variant: Variant, graph: Graph, folder: Path, weights: str) -> None:
    """Write what ONNX Runtime makes of `graph` into `folder`, its weights into the file `weights` there."""
    source = artifact.path.resolve()
    options = session_options(source, threads=1, spinning=False, saturates=saturates(variant.target))
    options.optimized_model_filepath = str(folder / graph.file)
    for key, value in {
        "session.optimized_model_external_initializers_file_name": weights,
        "session.optimized_model_external_initializers_min_size_in_bytes": str(_SHARED_BYTES),
        "session.save_external_prepacked_constant_initializers": str(int(_may_lay_out())),
    }.items():
        options.add_session_config_entry(key, value)
    content = artifact.read_graph(graph.file, variant.weights)
    try:
        session = import_onnxruntime().InferenceSession(
            content, options, providers=[PROVIDERS["cpu"]], disabled_optimizers=DISABLED_OPTIMIZERS["cpu"]
        )
    except Exception as error:  # onnxruntime's errors share no public base class
        reason = " ".join(str(error).split())
        raise ArtifactError(source / graph.file, f"ONNX Runtime cannot save what it makes of it ({reason}).") from error
    _require_equal_answers(session, artifact, variant, graph, folder)


def _may_lay_out() -> bool:
    """Whether weights may be saved as kernels take them: before 1.32, ONNX Runtime crashes as it runs Attention so."""
    found = re.match(r"(\d+)\.(\d+)", str(import_onnxruntime().__version__))
    return found is not None and (int(found[1]), int(found[2])) >= _LAYS_OUT


def _require_equal_answers(session: Any, artifact: Artifact, variant: Variant, graph: Graph, folder: Path) -> None:
    saved = Session(
        (folder / graph.file).read_bytes(),
        folder,
        device="cpu",
        threads=1,
        spinning=False,
        saturates=saturates(variant.target),
        optimized=True,
    )
    tokens = min(_CHECKED_TOKENS, artifact.manifest.max_length)
    inputs = {name: np.zeros((2, tokens), dtype=np.int64) for name in saved.input_names}
    if (mask := inputs.get("attention_mask")) is not None:
        mask[0], mask[1, : (tokens + 1) // 2] = 1, 1
    if session.run(("logits",), inputs)[0].tobytes() != saved.run(inputs).tobytes():
        raise CheckFailedError(f"{graph.file}: what ONNX Runtime saved answers otherwise; it is not kept.")


def _publish(new: Path, target: Path, *, retired: Path) -> None:
    """Put `new` in the place of `target`, which goes to `retired` where it exists."""
    with suppress(FileNotFoundError):
        target.rename(retired)
    try:
        new.rename(target)
    except OSError:
        if not (target / _INDEX).is_file():
            raise  # else another process was sooner, and what it put there is whole


def _verified(folder: Path, name: str, index: Index) -> Path:
    """The path of the file `name` of `folder`, after its checksum was compared with the index's."""
    path = folder / name
    try:
        found = file_inside(folder, name)
        whole = found is not None and _record_of(found) == index.files.get(name)
    except (OSError, RuntimeError, ValueError) as error:
        raise ArtifactIntegrityError(path, f"cannot be read ({error}). {_AGAIN}") from error
    if found is None or not whole:
        raise ArtifactIntegrityError(path, f"is not as it was saved. {_AGAIN}")
    return found


def _record_of(path: Path) -> SavedFile:
    """Size and CRC-32 of the file at `path`, read in constant memory."""
    checksum, size, buffer = 0, 0, memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            checksum, size = crc32(buffer[:count], checksum), size + count
    return SavedFile(bytes=size, crc32=checksum)


def _equal(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and cmp(one, other, shallow=False)
