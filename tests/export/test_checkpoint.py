"""Checkpoints that cannot be exported are refused in one line, before anything is written."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

import onnxpress
from onnxpress_export import export
from onnxpress_export.artifact import write_tokenizer
from onnxpress_export.checkpoint import load_checkpoint
from tests.conftest import MakeCheckpoint, edit_json


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def edit_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(directory / "model.safetensors")
    change(weights)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def poison(weights: dict[str, torch.Tensor], value: float) -> None:
    weights["bert.encoder.layer.1.output.dense.weight"][3, 5] = value


def refusal(source: object, tmp_path: Path) -> str:
    """The one line that refuses `source`; proves that nothing was written."""
    with pytest.raises(onnxpress.CheckpointError) as caught:
        export(str(source), tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()
    message = str(caught.value)
    assert "\n" not in message and str(source) in message
    assert str(pickle.loads(pickle.dumps(caught.value))) == message
    return message


def test_a_missing_directory(tmp_path: Path) -> None:
    assert "no such directory" in refusal(tmp_path / "nowhere", tmp_path)


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal(tmp_path / "file", tmp_path)


def test_a_foreign_directory(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert "is not a transformers checkpoint (no config.json)" in refusal(tmp_path / "photos", tmp_path)


def test_an_unknown_hub_id_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.utils.hub.is_offline_mode", lambda: True)
    assert "no such directory, and no such Hub model" in refusal("no-such-owner/no-such-model", tmp_path)


def test_a_broken_config(copy: Path, tmp_path: Path) -> None:
    (copy / "config.json").write_text("{")
    assert "its config.json cannot be read" in refusal(copy, tmp_path)


def test_no_weights(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").unlink()
    assert "holds no weights" in refusal(copy, tmp_path)


def test_weights_cut_short(copy: Path, tmp_path: Path) -> None:
    with (copy / "model.safetensors").open("r+b") as file:
        file.truncate(1_000)
    assert "transformers cannot load its weights" in refusal(copy, tmp_path)


def test_a_pickle_needs_the_flag(copy: Path, tmp_path: Path) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert "its weights (pytorch_model.bin) are a pickle" in refusal(copy, tmp_path)
    report = export(copy, tmp_path / "artifact", allow_pickle=True)
    assert report.manifest.labels == ("negative", "positive")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(copy: Path, tmp_path: Path, value: float) -> None:
    edit_weights(copy, lambda weights: poison(weights, value))
    message = refusal(copy, tmp_path)
    assert "bert.encoder.layer.1.output.dense.weight holds 1 values that are NaN or infinite" in message


def test_a_model_that_is_no_classifier(checkpoint: Path, tmp_path: Path) -> None:
    config = BertConfig.from_pretrained(checkpoint)
    BertForMaskedLM(config).save_pretrained(tmp_path / "masked")
    assert "is a BertForMaskedLM, not a sequence classifier" in refusal(tmp_path / "masked", tmp_path)


def test_a_head_that_was_never_trained(copy: Path, tmp_path: Path) -> None:
    edit_weights(copy, lambda weights: weights.pop("classifier.weight"))
    assert "has no weights for classifier.weight: the classifier was never trained" in refusal(copy, tmp_path)


def test_labels_that_do_not_match_the_head(copy: Path, tmp_path: Path) -> None:
    edit_json(copy / "config.json", lambda config: config.update(id2label={"0": "a", "1": "b", "2": "c"}))
    message = refusal(copy, tmp_path)
    assert "classifier.bias has shape [2], but config.json with its 3 labels asks for [3]" in message


def test_a_head_of_its_own_that_ignores_the_labels(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxpress_export.checkpoint._labels", lambda *_, **__: ("a", "b", "c"))
    assert "the head gives 2 logits but config.json names 3 labels" in refusal(checkpoint, tmp_path)


def test_labels_with_a_gap(copy: Path, tmp_path: Path) -> None:
    edit_json(copy / "config.json", lambda config: config.update(id2label={"0": "a", "2": "c"}))
    assert "id2label must number its labels from 0" in refusal(copy, tmp_path)


def test_no_tokenizer(copy: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    assert "has no tokenizer" in refusal(copy, tmp_path)


def test_a_tokenizer_of_another_model(copy: Path, tmp_path: Path) -> None:
    def lengthen(tokenizer: dict[str, object]) -> None:
        tokenizer["model"]["vocab"]["unheard"] = 9_999  # type: ignore[index]

    edit_json(copy / "tokenizer.json", lengthen)
    assert "the tokenizer gives ids up to 9999, but the model embeds only" in refusal(copy, tmp_path)


@pytest.mark.parametrize(
    ("labels", "problem", "expected", "activation"),
    [
        (("a", "b"), None, "single_label_classification", "softmax"),
        (("a", "b"), "multi_label_classification", "multi_label_classification", "sigmoid"),
        (("a",), "regression", "regression", "identity"),
        # transformers' pipeline gives its one label a sigmoid
        (("a",), None, "multi_label_classification", "sigmoid"),
    ],
)
def test_the_problem_is_read_as_the_pipeline_reads_it(
    make_checkpoint: MakeCheckpoint, labels: tuple[str, ...], problem: str | None, expected: str, activation: str
) -> None:
    loaded = load_checkpoint(str(make_checkpoint(labels, problem_type=problem)))
    assert (loaded.problem_type, loaded.activation, loaded.labels) == (expected, activation, labels)


def test_labels_can_be_named(checkpoint: Path, tmp_path: Path) -> None:
    assert load_checkpoint(str(checkpoint), labels=["bad", "good"]).labels == ("bad", "good")
    with pytest.raises(onnxpress.CheckpointError, match="3 labels asks for"):
        load_checkpoint(str(checkpoint), labels=["a", "b", "c"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_exported_in_full(
    checkpoint: Path, artifact: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    model = BertForSequenceClassification.from_pretrained(checkpoint).to(dtype)
    model.save_pretrained(tmp_path / "half")
    load_checkpoint(str(checkpoint)).tokenizer.save_pretrained(tmp_path / "half")
    report = export(tmp_path / "half", tmp_path / "artifact")
    assert report.manifest.variants[0].parity.max_difference <= 1e-4
    with onnxpress.load(tmp_path / "artifact") as classifier, onnxpress.load(artifact) as full:
        rounded = np.abs(classifier.logits(["good film"]) - full.logits(["good film"])).max()
    assert 0 < rounded < 0.5  # the weights were rounded when they were saved, and not once more


def test_weights_in_several_files(checkpoint: Path, artifact: Path, tmp_path: Path) -> None:
    model = BertForSequenceClassification.from_pretrained(checkpoint)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    load_checkpoint(str(checkpoint)).tokenizer.save_pretrained(tmp_path / "sharded")
    with onnxpress.load(artifact) as whole:
        wanted = whole.logits(["good film"])
    export(tmp_path / "sharded", tmp_path / "artifact")
    with onnxpress.load(tmp_path / "artifact") as classifier:
        assert np.array_equal(classifier.logits(["good film"]), wanted)


OWN_CODE = """
import torch
from transformers import BertModel, BertPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

class MaxPooled(BertPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.head = torch.nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        hidden = self.bert(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]
        hidden = hidden.masked_fill(attention_mask[..., None] == 0, -1e4)
        return SequenceClassifierOutput(logits=self.head(hidden.amax(1)))
"""


def test_code_of_its_own_needs_the_flag(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("sys.path", [*sys.path, str(tmp_path / "modules")])
    (copy / "own.py").write_text(OWN_CODE)

    def claim(config: dict[str, object]) -> None:
        config.update(architectures=["MaxPooled"], auto_map={"AutoModelForSequenceClassification": "own.MaxPooled"})

    def rename(weights: dict[str, torch.Tensor]) -> None:
        for part in ("weight", "bias"):
            weights[f"head.{part}"] = weights.pop(f"classifier.{part}")

    edit_json(copy / "config.json", claim)
    edit_weights(copy, rename)
    assert "brings code of its own. Read it, and pass --trust-remote-code" in refusal(copy, tmp_path)
    report = export(copy, tmp_path / "artifact", trust_remote_code=True)
    assert report.session_operators["Attention"] == 2
    assert report.manifest.variants[0].cpu.rewrites["prune_to_classified_token"] == 0  # every token counts
    with onnxpress.load(tmp_path / "artifact") as classifier:
        assert classifier("good film").label in ("negative", "positive")


def test_a_slow_tokenizer_is_explained(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class SlowTokenizer: ...

    (copy / "tokenizer.json").unlink()
    monkeypatch.setattr("onnxpress_export.tokenizer.AutoTokenizer.from_pretrained", lambda *_, **__: SlowTokenizer())
    assert "SlowTokenizer is a slow tokenizer" in refusal(copy, tmp_path)


@pytest.mark.parametrize(
    ("stored", "activation"),
    [
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "identity"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, "sigmoid"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "identity"),
        ({"sentence_transformers": {"version": "5.0.0"}}, "sigmoid"),
    ],
)
def test_the_activation_that_sentence_transformers_stored_is_read(
    make_checkpoint: MakeCheckpoint, stored: dict[str, object], activation: str
) -> None:
    directory = make_checkpoint(("LABEL_0",))
    edit_json(directory / "config.json", lambda config: config.update(stored))
    assert load_checkpoint(str(directory)).activation == activation
    assert load_checkpoint(str(directory), activation="softmax").activation == "softmax"
    asked = load_checkpoint(str(directory), problem_type="regression")
    assert (asked.problem_type, asked.activation) == ("regression", "identity")


def test_an_activation_that_the_engine_lacks_is_refused(make_checkpoint: MakeCheckpoint) -> None:
    directory = make_checkpoint(("LABEL_0",))
    own = {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}}
    edit_json(directory / "config.json", lambda config: config.update(own))
    with pytest.raises(onnxpress.CheckpointError, match=r"Tanh.*Pass --activation"):
        load_checkpoint(str(directory))
    for setting in ({"problem_type": "ranking"}, {"activation": "tanh"}):
        with pytest.raises(onnxpress.ConfigError, match="must be"):
            load_checkpoint(str(directory), **setting)


def test_a_snapshot_of_the_hubs_cache_is_read_through_its_links(checkpoint: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--someone--films/snapshots/0123"
    (tmp_path / "models--someone--films/blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for index, file in enumerate(sorted(checkpoint.iterdir())):
        shutil.copy(file, tmp_path / f"models--someone--films/blobs/{index}")
        (snapshot / file.name).symlink_to(f"../../blobs/{index}")
    assert load_checkpoint(str(snapshot)).source == "someone/films@0123"


def test_several_chat_templates_do_not_hinder(copy: Path) -> None:
    templates = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]
    edit_json(copy / "tokenizer_config.json", lambda config: config.update(chat_template=templates))
    write_tokenizer(load_checkpoint(str(copy)), copy.parent)
    assert not any(path.is_dir() for path in copy.parent.iterdir() if path != copy)


def test_a_hub_id_comes_from_the_offline_cache_at_the_revision_asked_for(checkpoint: Path, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = tmp_path / "hub/models--someone--films"
    (model / "refs").mkdir(parents=True)
    (model / "refs/v2").write_text(commit)
    shutil.copytree(checkpoint, model / "snapshots" / commit)
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "onnxpress", "export", "someone/films", "artifact", *options]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    done = run("--revision", "v1")
    assert done.returncode == 2 and "no such Hub model" in done.stderr
    done = run("--revision", "v2")
    assert done.returncode == 0, done.stderr
    assert f"someone/films@{commit}" in (tmp_path / "artifact/onnxpress.json").read_text()
