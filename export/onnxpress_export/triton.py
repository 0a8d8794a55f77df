"""The portable graph as a model repository of Triton Inference Server."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from onnxpress.artifacts.manifest import Manifest, Variant

__all__ = ["CONFIG_PATTERN", "write_repository"]

CONFIG_PATTERN: Final = "*/config.pbtxt"
"""What a repository holds, by which it is known again."""

_VERSION: Final = "1"
_MAX_BATCH: Final = 64
_QUEUE_MICROSECONDS: Final = 1_000
_LABELS: Final = "labels.txt"


def write_repository(artifact: Path, name: str, manifest: Manifest, repository: Path) -> None:
    """Write the model repository of the artifact whose files lie in `artifact` into the directory `repository`.

    Triton's ONNX Runtime backend runs the portable graphs: they take padded batches with their mask. Clients send
    token ids and get logits; Triton batches requests of equal length. fp32 has the artifact's `name`, every other
    precision has its own behind it: NAME_fp16.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    for variant in manifest.variants:
        called = plain if variant.precision == "fp32" else f"{plain}_{variant.precision}"
        version = repository / called / _VERSION
        version.mkdir(parents=True)
        for file in (variant.portable.file, *variant.weights):
            shutil.copyfile(artifact / file, version / file)
        (repository / called / _LABELS).write_text("\n".join(manifest.labels) + "\n", encoding="utf-8")
        (repository / called / "config.pbtxt").write_text(_config(called, variant, manifest), encoding="utf-8")


def _config(name: str, variant: Variant, manifest: Manifest) -> str:
    """Triton's model configuration, in protobuf's text format; the batch dimension is Triton's own."""
    inputs = ",\n".join(f'  {{ name: "{value}" data_type: TYPE_INT64 dims: [ -1 ] }}' for value in manifest.inputs)
    return f"""\
name: "{name}"
backend: "onnxruntime"
default_model_filename: "{variant.portable.file}"
max_batch_size: {_MAX_BATCH}
input [
{inputs}
]
output [
  {{ name: "logits" data_type: TYPE_FP32 {_output(manifest)} }}
]
dynamic_batching {{ max_queue_delay_microseconds: {_QUEUE_MICROSECONDS} }}
"""


def _output(manifest: Manifest) -> str:
    """Dimensions of the logits; Triton's own labels are for a text's, since it numbers all of an output together."""
    if manifest.task == "token-classification":
        return f"dims: [ -1, {len(manifest.labels)} ]"
    return f'dims: [ {len(manifest.labels)} ] label_filename: "{_LABELS}"'
