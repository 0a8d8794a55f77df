"""BERT-like architectures: one fused attention a layer, the last layer pruned, torch's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    FunnelConfig,
    LlamaConfig,
    ModernBertConfig,
    MPNetConfig,
    Qwen2Config,
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
    "albert": lambda size: AlbertConfig(vocab_size=size, embedding_size=16, **SMALL),
    "bert": lambda size: BertConfig(vocab_size=size, **SMALL),
    "bert-relu": lambda size: BertConfig(vocab_size=size, hidden_act="relu", **SMALL),
    "camembert": lambda size: CamembertConfig(vocab_size=size, pad_token_id=0, type_vocab_size=1, **SMALL),
    "distilbert": lambda size: DistilBertConfig(
        vocab_size=size, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=MAX_LENGTH, num_labels=3,
    ),
    "electra": lambda size: ElectraConfig(vocab_size=size, embedding_size=16, **SMALL),
    "deberta-v2": lambda size: DebertaV2Config(
        vocab_size=size, relative_attention=True, pos_att_type=["c2p", "p2c"], type_vocab_size=2,
        conv_kernel_size=3, conv_act="gelu", **SMALL,
    ),
    "deberta-v3": lambda size: DebertaV2Config(
        vocab_size=size, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=16, type_vocab_size=0,
        share_att_key=True, norm_rel_ebd="layer_norm", position_biased_input=False, **SMALL,
    ),
    "llama": lambda size: LlamaConfig(vocab_size=size, num_key_value_heads=2, pad_token_id=0, **SMALL),
    "llama-left-padded": lambda size: LlamaConfig(vocab_size=size, pad_token_id=0, **SMALL),
    "modernbert": lambda size: ModernBertConfig(
        vocab_size=size, pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3,
        local_attention=16, global_attn_every_n_layers=2, **SMALL,
    ),
    "mpnet": lambda size: MPNetConfig(vocab_size=size, pad_token_id=1, **SMALL),
    "qwen2": lambda size: Qwen2Config(vocab_size=size + 1, num_key_value_heads=2, pad_token_id=0, **SMALL),
    "roberta": lambda size: RobertaConfig(vocab_size=size, pad_token_id=0, type_vocab_size=1, **SMALL),
    "xlm-roberta": lambda size: XLMRobertaConfig(vocab_size=size, pad_token_id=0, type_vocab_size=1, **SMALL),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_fused_pruned_and_exact(name: str, tmp_path: Path) -> None:
    if name == "electra" and transformers.__version__ < "5":
        pytest.skip("transformers 4 gives ELECTRA no attention that could be captured")
    tokenizer = make_tokenizer(max_length=10**30)
    tokenizer.padding_side = "left" if name.endswith("left-padded") else "right"
    model = randomize(AutoModelForSequenceClassification.from_config(ARCHITECTURES[name](len(tokenizer))))
    model.save_pretrained(tmp_path / "checkpoint")
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    report = export(tmp_path / "checkpoint", tmp_path / "artifact")
    (variant,) = report.manifest.variants
    assert variant.portable.operators["MultiHeadAttention"] == 2
    assert variant.packed is not None and variant.packed.rewrites["pack_tokens"] == 1  # the last layer is pruned
    for operators in (variant.cpu.operators, variant.packed.operators, report.session_operators):
        assert operators["Attention"] == 2 and "MultiHeadAttention" not in operators
    assert variant.cpu.rewrites["prune_to_classified_token"] == 1
    # RoBERTa's positions start behind the padding token's id, which is 0 here; MPNet's behind 1.
    offset = {"camembert": 1, "mpnet": 2, "roberta": 1, "xlm-roberta": 1}.get(name, 0)
    assert report.manifest.max_length == MAX_LENGTH - offset
    assert (1, report.manifest.max_length) in variant.parity.cases
    assert variant.parity.equal_labels == variant.parity.rows
    assert variant.parity.max_difference <= variant.parity.tolerance == 1e-4
    assert ("token_type_ids" in report.manifest.inputs) == (getattr(model.config, "type_vocab_size", 0) > 1)
    with onnxpress.load(tmp_path / "artifact", threads=1) as classifier:
        for text in ("good film", ("good film", "bad plot")):
            assert classifier(text).label in report.manifest.labels


UNSUPPORTED = {
    "llama-without-padding-token": (
        lambda size: LlamaConfig(vocab_size=size, pad_token_id=None, **SMALL),
        onnxpress.CheckpointError,
        "Set pad_token_id in config.json",
    ),
    "funnel": (
        lambda size: FunnelConfig(
            vocab_size=size, d_model=32, n_head=4, d_head=8, d_inner=64, block_sizes=[1, 1],
        ),
        onnxpress.CheckpointError,
        r"torch (itself cannot run|cannot trace) FunnelForSequenceClassification",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_architecture_that_is_not_supported_yet_is_refused(name: str, tmp_path: Path) -> None:
    config, kind, says = UNSUPPORTED[name]
    tokenizer = make_tokenizer()
    randomize(AutoModelForSequenceClassification.from_config(config(len(tokenizer)))).save_pretrained(tmp_path / "c")
    tokenizer.save_pretrained(tmp_path / "c")
    with pytest.raises(kind, match=says):
        export(tmp_path / "c", tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()
