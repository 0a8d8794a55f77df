"""Whatever is wrong with a checkpoint, loading it ends in one line with the way out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    Data2VecTextConfig,
    GPT2Config,
    OPTConfig,
    RobertaConfig,
    XmodConfig,
)

import onnxpress
from onnxpress_export.checkpoint import load_checkpoint
from tests.conftest import edit_json, make_tokenizer

SIZE = len(make_tokenizer())


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def refusal(source: Path, **settings: Any) -> str:
    with pytest.raises(onnxpress.CheckpointError) as caught:
        load_checkpoint(str(source), **settings)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message


def write(name: str, content: str) -> Callable[[Path], object]:
    return lambda copy: (copy / name).write_text(content)


def config(**settings: object) -> Callable[[Path], object]:
    return lambda copy: edit_json(copy / "config.json", lambda c: c.update(settings))


def index(files: object) -> Callable[[Path], object]:
    return write("model.safetensors.index.json", json.dumps({"weight_map": files}))


def instead(name: str) -> Callable[[Path], object]:
    return lambda copy: (copy / "model.safetensors").rename(copy / name)


def broken_link(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").symlink_to("../../blobs/gone")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "config is no JSON": (write("config.json", "{'a': 1}"), "config.json cannot be read"),
    "config is a list": (write("config.json", "[]"), "holds no JSON object"),
    "config is not UTF-8": (lambda copy: (copy / "config.json").write_bytes(b"\xff\xfe{}"), "cannot be read"),
    "config is empty": (write("config.json", "{}"), "names no model type"),
    "unknown model type": (config(model_type="never-heard-of"), "does not know its model type"),
    "no classifier of that type": (config(model_type="whisper_encoder_only"), "does not know its model type"),
    "labels as a list": (config(id2label=["a", "b"]), "config.json cannot be read"),
    "a size as words": (config(hidden_size="large"), "config.json cannot be read"),
    "heads that do not divide": (config(num_attention_heads=5), "cannot load its weights"),
    "a problem type of its own": (config(problem_type="ranking"), "Pass --problem-type"),
    "quantized by bitsandbytes": (config(quantization_config={"quant_method": "bitsandbytes"}), "are quantized (bits"),
    "quantized by GPTQ": (config(quantization_config={"quant_method": "gptq", "bits": 4}), "are quantized (gptq)"),
    "quantized inside": (config(text_config={"quantization_config": {"quant_method": "awq"}}), "quantized (awq)"),
    "compressed": (config(compression_config={"format": "pack"}), "are quantized (compression_config)"),
    "a shard is missing": (index({"a": "model-00002-of-00002.safetensors"}), "names model-00002-of-00002.safetensors"),
    "an index of nothing": (index(None), "holds no weight_map"),
    "an index that is no JSON": (write("model.safetensors.index.json", "{"), "cannot be read"),
    "weights of zero bytes": (write("model.safetensors", ""), "is empty"),
    "weights that are text": (write("model.safetensors", "not a tensor in sight"), "cannot load its weights"),
    "a pointer of Git LFS": (
        write("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"),
        "git lfs pull",
    ),
    "a broken link": (broken_link, "is a symbolic link to nothing"),
    "GGUF": (instead("model-q4.gguf"), "holds GGUF weights alone (model-q4.gguf)"),
    "ONNX": (instead("model.onnx"), "holds ONNX weights alone"),
    "TensorFlow": (instead("tf_model.h5"), "holds TensorFlow weights alone"),
    "Flax": (instead("flax_model.msgpack"), "holds Flax weights alone"),
    "pickle": (instead("pytorch_model.bin"), "are a pickle"),
    "tokenizer settings that are a list": (write("tokenizer_config.json", "[]"), "tokenizer"),
    "a tokenizer that is no JSON": (write("tokenizer.json", "{"), "tokenizer.json cannot be read"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_refused_in_one_line(kind: str, copy: Path) -> None:
    damage, says = DAMAGE[kind]
    damage(copy)
    assert says in refusal(copy)


def test_weights_that_a_quantizer_left_are_told_without_its_settings(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["bert.encoder.layer.0.output.dense.weight_scale_inv"] = torch.ones(1)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert "weight_scale_inv" in refusal(copy)


def test_an_adapters_quantized_base_is_named(copy: Path, tmp_path: Path) -> None:
    config(quantization_config={"quant_method": "fp8"})(copy)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    save_file({"base_model.model.classifier.weight": torch.ones(2, 32)}, adapter / "adapter_model.safetensors")
    settings = {"base_model_name_or_path": str(copy), "task_type": "SEQ_CLS", "peft_type": "LORA"}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    assert "its base model" in (message := refusal(adapter)) and "is quantized (fp8)" in message


@pytest.mark.parametrize(
    "error", [KeyError("a"), AttributeError("b"), RecursionError("c"), ZeroDivisionError(), OSError()]
)
def test_an_error_of_any_class_is_one_line(error: Exception, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("transformers.AutoModelForSequenceClassification.from_pretrained", fail)
    assert "transformers cannot load its weights" in refusal(checkpoint)


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ImportError("Using this needs `accelerate`: pip install accelerate"), "accelerate"),
        (ModuleNotFoundError("No module named 'einops'", name="einops"), "einops"),
        (ImportError("T5Converter requires the protobuf library but it was not found"), "protobuf"),
        (
            ValueError("You need to have sentencepiece or tiktoken installed to convert a slow tokenizer"),
            "sentencepiece",
        ),
        (
            ValueError("`tiktoken` is required to read a `tiktoken` file. Install it with `pip install tiktoken`."),
            "tiktoken",
        ),
    ],
)
def test_a_missing_package_is_named(
    error: Exception, package: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("transformers.AutoModelForSequenceClassification.from_pretrained", fail)
    assert f"{package} is not installed. Run pip install {package}." in refusal(checkpoint)


SMALL = {
    "vocab_size": SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 60,
}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (RobertaConfig(pad_token_id=0, **SMALL), 59),
        (Data2VecTextConfig(pad_token_id=1, **SMALL), 58),
        (XmodConfig(pad_token_id=1, default_language="en", languages=["en"], **SMALL), 58),
        (
            GPT2Config(vocab_size=SIZE, n_embd=32, n_layer=1, n_head=4, n_positions=60, pad_token_id=0, eos_token_id=3),
            60,
        ),
        (OPTConfig(ffn_dim=64, word_embed_proj_dim=32, pad_token_id=0, **SMALL), 60),
    ],
)
def test_positions_are_asked_of_the_table(settings: Any, expected: int, tmp_path: Path) -> None:
    AutoModelForSequenceClassification.from_config(settings).save_pretrained(tmp_path)
    make_tokenizer(10**30).save_pretrained(tmp_path)
    assert load_checkpoint(str(tmp_path)).max_length == expected
    assert load_checkpoint(str(tmp_path), max_length=7).max_length == 7
    for wrong in (0, 3, -1, expected + 1):
        with pytest.raises(onnxpress.ConfigError, match=f"got {wrong}"):
            load_checkpoint(str(tmp_path), max_length=wrong)
