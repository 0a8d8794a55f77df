"""What each road promises without a trace: attentions that are captured, and rotations that stay the same numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification

from onnxpress_export.capture import fusable_attentions
from onnxpress_export.recurrences import traceable_recurrences
from onnxpress_export.rotations import real_rotations
from tests.export.zoo import tiny_classifier

NAMES = ("input_ids", "attention_mask")
VOCABULARY = 60


@pytest.mark.parametrize(("model_type", "attentions"), [("bloom", 2), ("mvp", 6), ("openai-gpt", 2), ("mpnet", 2)])
def test_an_attention_that_a_model_computes_itself_is_captured(model_type: str, attentions: int) -> None:
    assert fusable_attentions(tiny_classifier(model_type, VOCABULARY), NAMES) == attentions


def test_learned_prompts_are_left_as_they_are_written() -> None:
    settings: dict[str, Any] = dict.fromkeys(("encoder_layers", "decoder_layers"), 1)
    settings |= dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 32)
    settings |= dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
    config = CONFIG_MAPPING["mvp"](
        vocab_size=VOCABULARY, d_model=16, use_prompt=True, prompt_length=3, prompt_mid_dim=8, pad_token_id=0,
        bos_token_id=2, eos_token_id=3, decoder_start_token_id=3, forced_eos_token_id=3, **settings,
    )  # fmt: skip
    assert fusable_attentions(AutoModelForSequenceClassification.from_config(config).eval(), NAMES) == 0


@pytest.mark.skipif(transformers.__version__ < "5", reason="transformers 4 writes it otherwise")
def test_rotations_by_complex_numbers_and_by_pairs_are_the_same() -> None:
    model = tiny_classifier("deepseek_v2", VOCABULARY)
    ids = torch.arange(5, 45).reshape(2, 20)
    with torch.no_grad():
        wanted = model(input_ids=ids).logits
        with real_rotations(model):
            found = model(input_ids=ids).logits
        again = model(input_ids=ids).logits
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    assert torch.equal(again, wanted)  # and the model is as it was


@pytest.mark.skipif(transformers.__version__ < "5", reason="transformers 4 writes them otherwise")
@pytest.mark.parametrize("model_type", ["minimax", "jamba", "qwen3_next", "qwen3_5_text"])
def test_a_recurrence_and_its_scan_are_the_same(model_type: str) -> None:
    model = tiny_classifier(model_type, VOCABULARY)
    ids = torch.arange(5, 45).reshape(2, 20)
    mask = torch.ones_like(ids)
    mask[1, 15:] = 0
    with torch.no_grad():
        wanted = model(input_ids=ids, attention_mask=mask).logits
        with traceable_recurrences(model):
            found = model(input_ids=ids, attention_mask=mask).logits
        again = model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    assert torch.equal(again, wanted)
