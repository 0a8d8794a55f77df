"""Writing an artifact: all of it, or nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import onnx_ir as ir

from onnxpress.artifact import record_of
from onnxpress.errors import CheckpointError, OutputExistsError
from onnxpress.manifest import MANIFEST_NAME, FileRecord, Manifest, encode_manifest
from onnxpress_export.checkpoint import Checkpoint

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

_SHARED_BYTES: Final = 1_024  # smaller constants stay in the graphs


def check_output(output: Path, *, force: bool, made_here: str = MANIFEST_NAME) -> None:
    """Raise OutputExistsError unless `output` is free, or `force` allows to replace what holds a `made_here` file."""
    if not output.exists() and not output.is_symlink():
        return
    if not (force and any(output.glob(made_here))):
        raise OutputExistsError(output)


@contextmanager
def staged_directory(output: Path) -> Iterator[Path]:
    """A new directory beside `output`, which takes its place when the block ends without an error.

    Files are on the disk before the rename. After an error nothing is left, and what was at `output` stays.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        staging.chmod(0o777 & ~_umask())
        yield staging
        for path in (*staging.rglob("*"), staging):
            _flush_to_disk(path)
        _replace(staging, output)
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
    checkpoint.model.config.save_pretrained(directory)
    checkpoint.tokenizer.save_pretrained(directory)
    if not (directory / "tokenizer.json").is_file():
        raise CheckpointError(checkpoint.source, "its tokenizer has no tokenizer.json form.")
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


def _replace(staging: Path, output: Path) -> None:
    if output.exists():
        retired = Path(tempfile.mkdtemp(prefix=f".{output.name}.old.", dir=output.parent))
        output.rename(retired / output.name)
        try:
            staging.rename(output)
        except OSError:
            (retired / output.name).rename(output)
            raise
        finally:
            shutil.rmtree(retired, ignore_errors=True)
    else:
        staging.rename(output)


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
