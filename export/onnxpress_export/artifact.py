"""Writing an artifact: all of it, or nothing."""

from __future__ import annotations

import errno
import glob
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import onnx_ir as ir

from onnxpress.artifacts.artifact import record_of
from onnxpress.artifacts.manifest import MANIFEST_NAME, FileRecord, Manifest, encode_manifest
from onnxpress.errors import OutputExistsError
from onnxpress_export.checkpoint import Checkpoint
from onnxpress_export.loading_errors import one_line

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "CPU_GRAPH_NAME",
    "HALF_GRAPH_NAME",
    "HALF_WEIGHTS_NAME",
    "INT8_CPU_GRAPH_NAME",
    "INT8_GRAPH_NAME",
    "INT8_PACKED_GRAPH_NAME",
    "INT8_WEIGHTS_NAME",
    "PACKED_GRAPH_NAME",
    "PORTABLE_GRAPH_NAME",
    "WEIGHTS_NAME",
    "check_output",
    "file_records",
    "staged_directory",
    "write_graph",
    "write_manifest",
    "write_tokenizer",
    "write_weights",
]

PORTABLE_GRAPH_NAME: Final = "model.onnx"
CPU_GRAPH_NAME: Final = "model_cpu.onnx"
PACKED_GRAPH_NAME: Final = "model_packed.onnx"
WEIGHTS_NAME: Final = "model.onnx_data"
HALF_GRAPH_NAME: Final = "model_fp16.onnx"
HALF_WEIGHTS_NAME: Final = "model_fp16.onnx_data"
INT8_GRAPH_NAME: Final = "model_int8.onnx"
INT8_CPU_GRAPH_NAME: Final = "model_int8_cpu.onnx"
INT8_PACKED_GRAPH_NAME: Final = "model_int8_packed.onnx"
INT8_WEIGHTS_NAME: Final = "model_int8.onnx_data"

_log: Final = logging.getLogger(__name__)
_SHARED_BYTES: Final = 1_024  # smaller constants stay in the graphs
_YOUNG_SECONDS: Final = 60.0


def check_output(output: Path, *, force: bool, made_here: str = MANIFEST_NAME) -> None:
    """Raise OutputExistsError unless `output` is free, or `force` allows to replace what holds a `made_here` file."""
    if not output.exists() and not output.is_symlink():
        return
    if not (force and any(output.glob(made_here))):
        raise OutputExistsError(output)


@contextmanager
def staged_directory(output: Path, *, force: bool = False, made_here: str = MANIFEST_NAME) -> Iterator[Path]:
    """A new directory beside `output`, which takes its place when the block ends without an error.

    Files are on the disk before the rename. After an error nothing is left, and what was at `output` stays. What an
    export that was killed left beside `output` is removed.

    Args:
        output: Where it is to be. What is there when the block ends is replaced as `check_output` allows, and by no
            other rule: it may have come while the block ran.
        force: Replace what holds a `made_here` file.
        made_here: A pattern.

    Raises:
        OutputExistsError: `output` is taken.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    _sweep(output)
    staging = Path(tempfile.mkdtemp(prefix=_staging_prefix(output), dir=output.parent))
    try:
        with _held(staging):
            staging.chmod(0o777 & ~_umask())
            yield staging
            for path in (*staging.rglob("*"), staging):
                _flush_to_disk(path)
            _publish(staging, output, force=force, made_here=made_here)
            _flush_to_disk(output.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_weights(model: ir.Model, directory: Path, name: str = WEIGHTS_NAME) -> None:
    """Move the weights of `model` into the file `name`, to which it, and every clone made later, then refers."""
    ir.external_data.unload_from_model(model, directory, name, size_threshold_bytes=_SHARED_BYTES)


def write_graph(model: ir.Model, directory: Path, name: str) -> None:
    """Write the graph `name`, whose weights `write_weights` wrote."""
    ir.save(model, directory / name)


def write_tokenizer(checkpoint: Checkpoint, directory: Path) -> None:
    """Write the model's configuration and the tokenizer's files, as transformers and optimum read them."""
    checkpoint.tokenizer.backend_tokenizer.no_truncation()  # transformers keeps that of its last call
    checkpoint.tokenizer.backend_tokenizer.no_padding()
    with one_line(checkpoint.source, "transformers cannot write its configuration"):
        checkpoint.model.config.save_pretrained(directory)
        checkpoint.tokenizer.save_pretrained(directory)
    for path in directory.glob("*.py"):
        path.unlink()  # what a checkpoint's own code is copied as: nothing in an artifact can run code
    _name_a_class_that_all_know(directory / "tokenizer_config.json")
    special = directory / "special_tokens_map.json"  # transformers 5 writes it no more, transformers.js reads it
    if not special.exists():
        special.write_text(json.dumps(checkpoint.tokenizer.special_tokens_map, indent=2, default=str) + "\n")


def _name_a_class_that_all_know(path: Path) -> None:
    """Transformers 5 writes a class's new name, which transformers 4, and so optimum, does not find."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def file_records(directory: Path) -> dict[str, FileRecord]:
    """Size and hash of every file in `directory`, by name."""
    return {path.name: record_of(path) for path in sorted(directory.iterdir())}


def write_manifest(manifest: Manifest, directory: Path) -> None:
    """Write the manifest, last of all files."""
    (directory / MANIFEST_NAME).write_bytes(encode_manifest(manifest))


def _publish(staging: Path, output: Path, *, force: bool, made_here: str) -> None:
    """Rename `staging` to `output`, in whose place nothing is lost that may not be replaced.

    What is there is moved aside first and looked at there, where nobody else puts anything, and is removed only once
    the new one is in its place.
    """
    if not force:
        _take(staging, output)
        return
    check_output(output, force=force, made_here=made_here)
    retired = Path(tempfile.mkdtemp(prefix=f".{output.name}.old-", dir=output.parent))
    old = retired / output.name
    try:
        with suppress(FileNotFoundError):
            output.rename(old)
        try:
            if old.exists() or old.is_symlink():
                check_output(old, force=force, made_here=made_here)
            _take(staging, output)
        except BaseException:
            _give_back(old, output)
            raise
    except OutputExistsError as error:
        raise OutputExistsError(output) from error
    finally:
        with suppress(OSError):
            retired.rmdir()  # only where it is empty: an old artifact that could not be put back is kept
    shutil.rmtree(retired, ignore_errors=True)


def _take(staging: Path, output: Path) -> None:
    """Rename `staging` to `output`, which must be free: claimed by creating it, which one process alone can do."""
    try:
        if os.name != "nt":  # a rename replaces an empty directory, our own; on Windows it replaces nothing at all
            output.mkdir()
        staging.rename(output)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise OutputExistsError(output) from error
        with suppress(OSError):
            output.rmdir()
        raise


def _give_back(old: Path, output: Path) -> None:
    if not (old.exists() or old.is_symlink()):
        return
    try:
        if old.is_symlink():
            output.symlink_to(old.readlink())
            old.unlink()
        else:
            _take(old, output)
    except (OSError, OutputExistsError):
        _log.warning("the artifact that was at %s is kept at %s: its place was taken meanwhile", output, old)


def _staging_prefix(output: Path) -> str:
    return f".{output.name}.onnxpress-"


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Lock `directory` for as long as this process works on it: a lock ends with the process, however that ends."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _sweep(output: Path) -> None:
    """Remove what exports to `output` left that were killed: staging directories that no process holds any more."""
    if fcntl is None:
        return
    for path in output.parent.glob(f"{glob.escape(_staging_prefix(output))}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime < _YOUNG_SECONDS:
                continue  # it may be about to be locked
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


def _flush_to_disk(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle of a directory to flush
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
