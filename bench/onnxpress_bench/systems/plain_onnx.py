"""torch's own ONNX export of the checkpoint, with nothing done to it, in ONNX Runtime or in OpenVINO."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress_bench.systems.batches import BatchedSystem
from onnxpress_bench.systems.spec import SystemSpec, Text

__all__ = ["onnxruntime_system", "openvino_int8_file", "openvino_system", "prepare_onnx", "prepare_openvino_int8"]

_CALIBRATION_TEXTS = 300


def prepare_onnx(checkpoint: str, path: Path) -> None:
    """Write torch's export of the checkpoint, batch and length dynamic, to `path`."""
    import torch

    from onnxpress_bench.systems.torch_models import load_model

    model, tokenizer = load_model(checkpoint)
    example = dict(tokenizer(["a", "b c"], padding=True, return_tensors="pt"))
    batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence")
    partial = path.with_name(f"partial-{path.name}")
    torch.onnx.export(
        model,
        (),
        str(partial),
        kwargs=example,
        input_names=list(example),
        output_names=["logits"],
        dynamic_shapes={name: {0: batch, 1: sequence} for name in example},
        dynamo=True,
        external_data=False,
    )
    os.replace(partial, path)


def prepare_openvino_int8(model: Path, checkpoint: str, texts: Sequence[Text], path: Path) -> None:
    """Quantize the export `model` as nncf does a transformer by default, calibrated on some of `texts`."""
    import nncf
    import openvino

    tokenize, _ = _tokenizer(checkpoint)
    rows = [tokenize([text]) for text in texts[:_CALIBRATION_TEXTS]]
    quantized = nncf.quantize(
        openvino.Core().read_model(model),
        nncf.Dataset(rows),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(rows),
    )
    openvino.save_model(quantized, path, compress_to_fp16=False)


def onnxruntime_system(spec: SystemSpec) -> BatchedSystem:
    """The export in ONNX Runtime with its own settings, on all cores."""
    import onnxruntime

    session = onnxruntime.InferenceSession(Path(spec.work) / "plain.onnx", providers=["CPUExecutionProvider"])
    return _system(spec, lambda inputs: session.run(["logits"], inputs)[0])


def openvino_system(spec: SystemSpec) -> BatchedSystem:
    """The export in OpenVINO, fp32 or int8, with its hint for latency or for throughput.

    With the one for throughput it takes several batches at once, as its guide says; their number is its own choice.
    """
    import openvino

    file = "plain.onnx" if spec.precision == "fp32" else openvino_int8_file(spec)
    hint = "THROUGHPUT" if spec.optimize_for == "throughput" else "LATENCY"
    settings = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(Path(spec.work) / file, "CPU", settings)
    queue = openvino.AsyncInferQueue(compiled)

    def forward_all(batches: Iterable[Any]) -> list[NDArray[np.float32]]:
        found: dict[int, NDArray[np.float32]] = {}

        def keep(request: Any, place: int) -> None:
            found[place] = np.array(request.get_output_tensor().data)

        queue.set_callback(keep)
        for place, inputs in enumerate(batches):
            queue.start_async(inputs, place)
        queue.wait_all()
        return [found[place] for place in range(len(found))]

    return _system(spec, lambda inputs: forward_all([inputs])[0], forward_all)


def openvino_int8_file(spec: SystemSpec) -> str:
    """The name of the quantized model's file: another for other texts that it was calibrated on."""
    return f"openvino-int8-{spec.calibrated_on}.xml"


def _system(
    spec: SystemSpec,
    forward: Callable[[Any], NDArray[np.float32]],
    forward_all: Callable[[Iterable[Any]], Iterable[NDArray[np.float32]]] | None = None,
) -> BatchedSystem:
    tokenize, labels = _tokenizer(spec.model)
    assert spec.batch_size is not None
    return BatchedSystem(labels, tokenize, forward, spec.batch_size, forward_all)


def _tokenizer(checkpoint: str) -> tuple[Callable[[Sequence[Text]], Any], list[str]]:
    """The fast tokenizer of the checkpoint by itself, without torch or transformers; and the labels."""
    import json

    from tokenizers import Tokenizer

    folder = Path(checkpoint)
    config = json.loads((folder / "config.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    longest = min(int(settings.get("model_max_length", 512)), int(config.get("max_position_embeddings", 512)))
    tokenizer.enable_truncation(longest)
    tokenizer.enable_padding(pad_id=config.get("pad_token_id") or 0)
    has_types = config.get("type_vocab_size", 0) > 0 and config["model_type"] not in ("roberta", "xlm-roberta")

    def tokenize(texts: Sequence[Text]) -> dict[str, NDArray[np.int64]]:
        rows = tokenizer.encode_batch(list(texts))
        inputs = {
            "input_ids": np.array([row.ids for row in rows], np.int64),
            "attention_mask": np.array([row.attention_mask for row in rows], np.int64),
        }
        if has_types:
            inputs["token_type_ids"] = np.array([row.type_ids for row in rows], np.int64)
        return inputs

    return tokenize, _labels(config)


def _labels(config: Mapping[str, Any]) -> list[str]:
    """The labels that config.json names, or those that transformers makes up, two by default, where it names none."""
    named = {int(index): str(label) for index, label in config.get("id2label", {}).items()}
    if not named:
        return [f"LABEL_{index}" for index in range(config.get("num_labels", 2))]
    return [named[index] for index in range(len(named))]
