"""Which task a checkpoint is of: told from its files, never guessed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForTokenClassification, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForTokenClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    ViTConfig,
    ViTForImageClassification,
)

from onnxpress import CheckpointError, ConfigError
from onnxpress_export import export
from onnxpress_export.checkpoint import load_checkpoint
from tests.conftest import edit_json, make_tokenizer, randomize
from tests.export.tasks.conftest import LABELS

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
OTHERS: dict[str, Callable[[int], PreTrainedModel]] = {
    "BertForQuestionAnswering": lambda size: BertForQuestionAnswering(BertConfig(vocab_size=size, **SMALL)),
    "BertForMaskedLM": lambda size: BertForMaskedLM(BertConfig(vocab_size=size, **SMALL)),
    "BertModel": lambda size: BertModel(BertConfig(vocab_size=size, **SMALL)),
    "GPT2LMHeadModel": lambda size: GPT2LMHeadModel(
        GPT2Config(vocab_size=size, n_embd=32, n_layer=1, n_head=4, bos_token_id=2, eos_token_id=3)
    ),
    "ViTForImageClassification": lambda _: ViTForImageClassification(ViTConfig(image_size=32, **SMALL)),
}


@pytest.fixture
def copy(token_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(token_checkpoint, tmp_path / "copy"))


def refusal(source: Path, tmp_path: Path, task: str | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        export(source, tmp_path / "artifact", task=task)
    assert not (tmp_path / "artifact").exists() and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", OTHERS)
def test_another_task_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    OTHERS[name](len(tokenizer)).save_pretrained(tmp_path / "c")
    tokenizer.save_pretrained(tmp_path / "c")
    message = refusal(tmp_path / "c", tmp_path)
    assert f"is a {name}, not a sequence classifier (*ForSequenceClassification) or a token classifier" in message
    assert "pass --task text-classification or token-classification" in message
    for task in ("text-classification", "token-classification"):  # asking does not give it a head
        assert "never trained" in (said := refusal(tmp_path / "c", tmp_path, task)) or "no such classifier" in said


def test_the_command_refuses_it_in_one_line(copy: Path, tmp_path: Path) -> None:
    edit_json(copy / "config.json", lambda config: config.update(architectures=["BertForQuestionAnswering"]))
    command = [sys.executable, "-m", "onnxpress", "export", str(copy), str(tmp_path / "artifact")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "is a BertForQuestionAnswering" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "artifact").exists()


def test_a_head_under_another_name_is_exported_by_asking(copy: Path) -> None:
    for architectures in (["BertForNER"], None, ["BertModel"]):
        edit_json(copy / "config.json", lambda config, names=architectures: config.update(architectures=names))
        with pytest.raises(CheckpointError, match="pass --task"):
            load_checkpoint(str(copy))
        loaded = load_checkpoint(str(copy), task="token-classification")
        assert loaded.task.name == "token-classification" and loaded.labels == LABELS


def test_a_wrong_name_is_put_right_by_asking(copy: Path) -> None:
    edit_json(copy / "config.json", lambda config: config.update(architectures=["BertForSequenceClassification"]))
    with pytest.raises(CheckpointError, match=r"no weights for bert.pooler"):
        load_checkpoint(str(copy))
    assert load_checkpoint(str(copy), task="token-classification").labels == LABELS


def test_a_classifier_of_texts_is_no_token_classifier_for_the_asking(checkpoint: Path, tmp_path: Path) -> None:
    """Both heads of BERT have the same name and shape; the pooler tells."""
    message = refusal(checkpoint, tmp_path, "token-classification")
    assert "is a sequence classifier, and holds bert.pooler" in message and "Leave --task out" in message


def test_a_token_classifier_is_no_classifier_of_texts_for_the_asking(token_checkpoint: Path, tmp_path: Path) -> None:
    message = refusal(token_checkpoint, tmp_path, "text-classification")
    assert "has no weights for bert.pooler.dense.bias: the classifier was never trained" in message


def test_a_head_that_was_never_trained_is_refused(copy: Path, tmp_path: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert "has no weights for classifier.weight: the classifier was never trained" in refusal(copy, tmp_path)


def test_a_head_that_transformers_does_not_know_is_refused(copy: Path, tmp_path: Path) -> None:
    """A conditional random field behind the logits chooses other labels than they do."""
    edit_json(copy / "config.json", lambda config: config.update(architectures=["BertCrfForTokenClassification"]))
    assert load_checkpoint(str(copy)).labels == LABELS  # nothing of it is left over
    weights = load_file(copy / "model.safetensors")
    save_file({**weights, "crf.transitions": torch.ones(5, 5)}, copy / "model.safetensors", metadata={"format": "pt"})
    message = refusal(copy, tmp_path)
    assert "is a BertCrfForTokenClassification, which transformers does not know" in message
    assert "BertForTokenClassification makes no use of crf.transitions" in message
    assert load_checkpoint(str(copy), task="token-classification").labels == LABELS


def test_labels_that_do_not_match_the_head(copy: Path, tmp_path: Path) -> None:
    edit_json(copy / "config.json", lambda config: config.update(id2label={"0": "O", "1": "PER"}))
    assert "classifier.bias has shape [5], but config.json with its 2 labels asks for [2]" in refusal(copy, tmp_path)


def test_what_config_json_says_of_the_problem_is_not_of_tokens(copy: Path) -> None:
    edit_json(copy / "config.json", lambda config: config.update(problem_type="multi_label_classification"))
    loaded = load_checkpoint(str(copy))
    assert (loaded.problem_type, loaded.activation) == ("single_label_classification", "softmax")


def test_files_left_of_the_embeddings_that_it_was_made_of_change_nothing(copy: Path) -> None:
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""},
               {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]  # fmt: skip
    (copy / "modules.json").write_text(json.dumps(modules))
    assert load_checkpoint(str(copy)).task.name == "token-classification"


def test_an_unknown_task_is_refused(token_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="task must be text-classification or token-classification, got 'ner'"):
        export(token_checkpoint, tmp_path / "artifact", task="ner")


def test_an_adapter_for_tokens_is_merged(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=140, **SMALL)
    randomize(BertModel(config)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    model = BertForTokenClassification.from_pretrained(tmp_path / "base", num_labels=len(LABELS))
    settings = LoraConfig(task_type="TOKEN_CLS", r=4, target_modules=["query"])
    randomize(get_peft_model(model, settings)).save_pretrained(tmp_path / "adapter")
    manifest = export(tmp_path / "adapter", tmp_path / "artifact", labels=LABELS).manifest
    assert manifest.task == "token-classification" and manifest.labels == LABELS
    loaded = load_checkpoint(str(tmp_path / "adapter"), labels=LABELS)
    theirs = AutoPeftModelForTokenClassification.from_pretrained(tmp_path / "adapter", num_labels=len(LABELS)).eval()
    rows = tokenizer("good film", return_tensors="pt")
    with torch.no_grad():
        # The adapter is added to the weights instead of to the activations: another order of fp32 sums.
        torch.testing.assert_close(loaded.model(**rows).logits, theirs(**rows).logits, rtol=0, atol=1e-4)
