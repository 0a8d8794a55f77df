"""optimum's ONNX Runtime models: its export, the same with its O2 optimization, and its dynamic int8."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optimum.onnxruntime import AutoOptimizationConfig, ORTModelForSequenceClassification, ORTOptimizer, ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig
from transformers import AutoTokenizer

from onnxpress_bench.systems.batches import BatchedSystem
from onnxpress_bench.systems.from_text import labels_of
from onnxpress_bench.systems.spec import SystemSpec, Text

__all__ = ["optimum_system", "prepare_optimum"]

_FILES = {"fp32": "model.onnx", "o2": "model_optimized.onnx", "int8": "model_quantized.onnx"}


def prepare_optimum(checkpoint: str, precision: str, extensions: Sequence[str], folder: Path) -> None:
    """Write optimum's model of `precision` into `folder`, int8 by its preset for this CPU's vector extensions."""
    partial = folder.with_name(f"partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    model = ORTModelForSequenceClassification.from_pretrained(checkpoint, export=True)
    if precision == "fp32":
        model.save_pretrained(partial)
    elif precision == "o2":
        ORTOptimizer.from_pretrained(model).optimize(AutoOptimizationConfig.O2(), save_dir=partial)
    else:
        preset = AutoQuantizationConfig.avx512_vnni if "avx512_vnni" in extensions else AutoQuantizationConfig.avx2
        config = preset(is_static=False, per_channel=False)
        ORTQuantizer.from_pretrained(model).quantize(save_dir=partial, quantization_config=config)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(partial)
    partial.rename(folder)


def optimum_system(spec: SystemSpec) -> BatchedSystem:
    """The model that `prepare_optimum` wrote."""
    folder = Path(spec.work) / f"optimum-{spec.precision}"
    model = ORTModelForSequenceClassification.from_pretrained(folder, file_name=_FILES[spec.precision])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert spec.batch_size is not None

    def tokenize(texts: Sequence[Text]) -> Any:
        return tokenizer(list(texts), padding=True, truncation=True, return_tensors="np")

    def forward(inputs: Any) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = model(**inputs).logits
        return logits

    return BatchedSystem(labels_of(model.config), tokenize, forward, spec.batch_size)
