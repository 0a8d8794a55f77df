"""Packing over architectures: each product works on the tokens that are no padding, and no answer changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    DebertaV2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    OPTConfig,
    PretrainedConfig,
    Qwen3Config,
)

from onnxpress_export.capture import capture
from onnxpress_export.passes import COMMON, PACKED, apply_passes, pack_tokens
from onnxpress_export.passes._graph import constant
from onnxpress_export.variants import write_packed
from tests.conftest import randomize
from tests.export.test_passes import ATOL, LAYERS, random_inputs, run

NAMES = ("input_ids", "attention_mask")
SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
GROUPED = {**SMALL, "num_key_value_heads": 2}
MODERN = {
    **SMALL, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 8,
}  # fmt: skip

ARCHITECTURES: dict[str, Callable[[], PretrainedConfig]] = {
    "deberta-v2-convolution": lambda: DebertaV2Config(
        relative_attention=True, pos_att_type=["c2p", "p2c"], type_vocab_size=0, conv_kernel_size=3, **SMALL
    ),
    "gemma3": lambda: Gemma3TextConfig(head_dim=8, sliding_window=8, **GROUPED),
    "gpt2": lambda: GPT2Config(
        vocab_size=50, n_embd=32, n_layer=LAYERS, n_head=4, n_positions=64, pad_token_id=0, bos_token_id=1,
        eos_token_id=2,
    ),
    "llama": lambda: LlamaConfig(**GROUPED),
    "mistral": lambda: MistralConfig(sliding_window=8, **GROUPED),
    "modernbert-cls": lambda: ModernBertConfig(classifier_pooling="cls", **MODERN),
    "modernbert-mean": lambda: ModernBertConfig(classifier_pooling="mean", **MODERN),
    "opt": lambda: OPTConfig(
        vocab_size=50, hidden_size=32, word_embed_proj_dim=32, num_hidden_layers=LAYERS, num_attention_heads=4,
        ffn_dim=64, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    ),
    "qwen3": lambda: Qwen3Config(head_dim=8, **GROUPED),
}  # fmt: skip

UNPRUNED = ("modernbert-mean", "opt")  # their last layer is computed for all tokens


def captured(name: str) -> ir.Model:
    torch.manual_seed(7)
    model = capture(randomize(AutoModelForSequenceClassification.from_config(ARCHITECTURES[name]())).eval(), NAMES)
    apply_passes(model, COMMON)
    return model


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_product_works_on_tokens_that_are_no_padding(name: str) -> None:
    plain = captured(name)
    model = plain.clone()
    rewrites = apply_passes(model, PACKED)
    assert rewrites["pack_tokens"] == (LAYERS if name in UNPRUNED else LAYERS - 1)
    for padded in (True, False):
        for batch, length in ((1, 1), (1, 7), (5, 33), (3, 64)):
            inputs = random_inputs(batch, length, padded=padded)
            # ATOL is for logits of about 1; some of these are 7, whose roundings are as much larger
            np.testing.assert_allclose(run(model, inputs), run(plain, inputs), rtol=1e-6, atol=ATOL)

    inputs = random_inputs(5, 33, padded=True)
    products = [
        node.outputs[0]
        for node in model.graph
        if node.op_type in ("MatMul", "Gemm") and constant(node.inputs[1]) is not None
    ]
    model.graph.outputs.extend(value for value in products if not value.is_graph_output())
    tokens = int(inputs["attention_mask"].sum())
    found = [output for output in run_all(model, inputs) if output.ndim < 4]  # DeBERTa's scores have heads
    rows = {output.shape[0] if output.ndim == 2 else output.shape[:2] for output in found}
    assert rows <= {(1, tokens), tokens, (5, 1), 5}, "of tokens, or of texts"


def run_all(model: ir.Model, inputs: dict[str, Any]) -> list[Any]:
    import onnxruntime as ort

    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(None, {i.name: inputs[i.name] for i in session.get_inputs()})
    return found


def test_a_mask_that_is_packed_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tolerance bites: a mean over tokens, whose mask was packed with them, counts padding."""
    plain = captured("modernbert-mean")
    model = plain.clone()
    monkeypatch.setitem(pack_tokens.__globals__, "_content", lambda graph: {v for n in graph for v in n.outputs})
    apply_passes(model, PACKED)
    inputs = random_inputs(5, 33, padded=True)
    assert np.abs(run(model, inputs) - run(plain, inputs)).max() > 1_000 * ATOL


def test_what_packs_nothing_is_not_written(tmp_path: Path) -> None:
    model = captured("llama")
    for value in list(model.graph.inputs):
        if value.name == "attention_mask":
            value.name = "another_mask"
    assert write_packed(model, {}, tmp_path, "packed.onnx") is None
    assert not list(tmp_path.iterdir())
