"""LoRA adapters are merged into the model they were trained on, or refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import AutoPeftModelForSequenceClassification, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification, BertModel

import onnxpress
from onnxpress_export import export
from tests.conftest import edit_json, make_tokenizer, randomize

LABELS = ["calm", "glad", "sad"]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded adapter with a head of three labels, over a base model that is no classifier."""
    directory = tmp_path_factory.mktemp("adapter")
    tokenizer = make_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=140,
    )
    randomize(BertModel(config)).save_pretrained(directory / "base")
    tokenizer.save_pretrained(directory / "base")
    model = BertForSequenceClassification.from_pretrained(directory / "base", num_labels=len(LABELS))
    settings = LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"])
    randomize(get_peft_model(model, settings)).save_pretrained(directory / "adapter")
    return directory / "adapter"


def test_an_adapter_is_merged(adapter: Path, tmp_path: Path) -> None:
    report = export(adapter, tmp_path / "artifact", labels=LABELS)
    assert report.manifest.labels == tuple(LABELS)
    assert report.session_operators["Attention"] == 2
    assert not [name for name in report.manifest.files if "adapter" in name]
    model = AutoPeftModelForSequenceClassification.from_pretrained(adapter, num_labels=len(LABELS)).eval()
    tokenizer = make_tokenizer()
    texts = ["good film", "the worst of the best", "a sad star"]
    with torch.no_grad():
        wanted = [model(**tokenizer(text, return_tensors="pt")).logits[0].numpy() for text in texts]
    with onnxpress.load(tmp_path / "artifact") as classifier:
        # The adapter is added to the weights instead of to the activations: another order of fp32 sums.
        np.testing.assert_allclose(classifier.logits(texts), np.stack(wanted), rtol=0, atol=1e-4)


def test_without_names_labels_are_numbered(adapter: Path, tmp_path: Path) -> None:
    assert export(adapter, tmp_path / "artifact").manifest.labels == ("LABEL_0", "LABEL_1", "LABEL_2")


@pytest.fixture
def copy(adapter: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapter, tmp_path / "copy"))


def refusal(source: Path, tmp_path: Path) -> str:
    with pytest.raises(onnxpress.CheckpointError) as caught:
        export(source, tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists() and "\n" not in str(caught.value)
    return str(caught.value)


def test_an_adapter_for_another_task(copy: Path, tmp_path: Path) -> None:
    edit_json(copy / "adapter_config.json", lambda settings: settings.update(task_type="CAUSAL_LM"))
    assert "is an adapter for CAUSAL_LM, not for classification" in refusal(copy, tmp_path)


def test_an_adapter_without_a_head(copy: Path, tmp_path: Path) -> None:
    weights = load_file(copy / "adapter_model.safetensors")
    save_file({name: weight for name, weight in weights.items() if "lora" in name}, copy / "adapter_model.safetensors")
    assert "holds no classification head" in refusal(copy, tmp_path)


def test_an_adapter_whose_base_is_gone(copy: Path, tmp_path: Path) -> None:
    edit_json(copy / "adapter_config.json", lambda s: s.update(base_model_name_or_path=str(tmp_path / "nowhere")))
    assert "nowhere: no such directory" in refusal(copy, tmp_path)


def test_an_adapter_without_weights(copy: Path, tmp_path: Path) -> None:
    (copy / "adapter_model.safetensors").unlink()
    assert "its adapter cannot be read" in refusal(copy, tmp_path)


def test_an_adapter_of_another_size(copy: Path, tmp_path: Path) -> None:
    weights = load_file(copy / "adapter_model.safetensors")
    name = next(name for name in weights if "lora_B" in name)
    weights[name] = weights[name][:-1].contiguous()
    save_file(weights, copy / "adapter_model.safetensors")
    assert "does not fit the model it names" in refusal(copy, tmp_path)


def test_without_peft(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxpress.extras.find_spec", lambda name: None)
    with pytest.raises(onnxpress.MissingDependencyError, match=r"pip install 'onnxpress\[lora\]'"):
        export(copy, tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()
