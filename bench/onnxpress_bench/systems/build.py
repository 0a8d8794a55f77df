"""A system from its description; imports what that one needs and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnxpress_bench.systems.spec import System, SystemSpec, Text

__all__ = ["build", "prepare"]


def prepare(spec: SystemSpec, texts: Sequence[Text], extensions: Sequence[str]) -> None:
    """Make the files that the system needs of the checkpoint, unless they are there.

    Args:
        spec: The system.
        texts: For what calibrates.
        extensions: This CPU's vector extensions.
    """
    work = Path(spec.work)
    if spec.kind == "onnxruntime" and not (work / "plain.onnx").exists():
        from onnxpress_bench.systems.plain_onnx import prepare_onnx

        prepare_onnx(spec.model, work / "plain.onnx")
    elif spec.kind == "openvino" and spec.precision == "int8":
        from onnxpress_bench.systems.plain_onnx import openvino_int8_file, prepare_openvino_int8

        if not (work / openvino_int8_file(spec)).exists():
            prepare_openvino_int8(work / "plain.onnx", spec.model, texts, work / openvino_int8_file(spec))
    elif spec.kind == "optimum" and not (work / f"optimum-{spec.precision}").exists():
        from onnxpress_bench.systems.optimum_models import prepare_optimum

        prepare_optimum(spec.model, spec.precision, extensions, work / f"optimum-{spec.precision}")


def build(spec: SystemSpec) -> System:
    """Load the system that `spec` describes."""
    if spec.kind == "engine":
        from onnxpress_bench.systems.engine import Engine

        return Engine(spec)
    if spec.kind == "pipeline":
        from onnxpress_bench.systems.torch_models import Pipeline

        return Pipeline(spec)
    if spec.kind in ("eager", "compile"):
        from onnxpress_bench.systems.torch_models import torch_model

        return torch_model(spec)
    if spec.kind == "cross-encoder":
        from onnxpress_bench.systems.cross_encoder import CrossEncoderSystem

        return CrossEncoderSystem(spec)
    if spec.kind == "zero-shot":
        from onnxpress_bench.systems.zero_shot import ZeroShotPipeline

        return ZeroShotPipeline(spec)
    if spec.kind == "optimum":
        from onnxpress_bench.systems.optimum_models import optimum_system

        return optimum_system(spec)
    from onnxpress_bench.systems import plain_onnx

    return plain_onnx.onnxruntime_system(spec) if spec.kind == "onnxruntime" else plain_onnx.openvino_system(spec)
