"""BERT-like architectures: one fused attention a layer, the last layer pruned, torch's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

import onnxpress
from onnxpress_export import export
from tests.conftest import MAX_LENGTH, make_tokenizer, randomize

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": MAX_LENGTH,
    "num_labels": 3,
}
ARCHITECTURES = {
    "bert": lambda size: BertConfig(vocab_size=size, **SMALL),
    "bert-relu": lambda size: BertConfig(vocab_size=size, hidden_act="relu", **SMALL),
    "distilbert": lambda size: DistilBertConfig(
        vocab_size=size, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=MAX_LENGTH, num_labels=3,
    ),
    "electra": lambda size: ElectraConfig(vocab_size=size, embedding_size=16, **SMALL),
    "roberta": lambda size: RobertaConfig(vocab_size=size, pad_token_id=0, type_vocab_size=1, **SMALL),
    "xlm-roberta": lambda size: XLMRobertaConfig(vocab_size=size, pad_token_id=0, type_vocab_size=1, **SMALL),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_fused_pruned_and_exact(name: str, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(max_length=10**30)
    model = randomize(AutoModelForSequenceClassification.from_config(ARCHITECTURES[name](len(tokenizer))))
    model.save_pretrained(tmp_path / "checkpoint")
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    report = export(tmp_path / "checkpoint", tmp_path / "artifact")
    (variant,) = report.manifest.variants
    for operators in (variant.portable.operators, variant.cpu.operators, report.session_operators):
        assert operators["MultiHeadAttention"] == 2
    assert variant.cpu.rewrites["prune_to_classified_token"] == 1
    offset = 1 if "roberta" in name else 0  # positions start behind the padding token's id, which is 0 here
    assert report.manifest.max_length == MAX_LENGTH - offset
    assert (1, report.manifest.max_length) in variant.parity.cases
    assert variant.parity.equal_labels == variant.parity.rows
    assert variant.parity.max_difference <= variant.parity.tolerance == 1e-4
    with onnxpress.load(tmp_path / "artifact", threads=1) as classifier:
        assert classifier("good film").label in report.manifest.labels
