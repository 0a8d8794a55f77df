"""Models that change their way with the length of a text are held to one, up to where it is theirs."""

from __future__ import annotations

import pytest
import torch

from onnxpress_export.settled import length_limit, settled
from tests.export.zoo import tiny_classifier


def test_bigbird_is_full_attention_up_to_where_it_is_sparse() -> None:
    model = tiny_classifier("big_bird", 113)
    limit = length_limit(model)
    assert limit is not None and limit.tokens == (5 + 2 * 2) * 16 and "sparse attention beyond" in limit.reason
    assert settled(model).base_model.attention_type == "original_full"
    assert model.base_model.attention_type == "block_sparse", "the loaded model stays as it is"


def test_a_settled_bigbird_answers_a_short_text_as_a_loaded_one() -> None:
    model = tiny_classifier("big_bird", 113)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        found = settled(model)(input_ids=ids).logits
        torch.testing.assert_close(found, model(input_ids=ids).logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_other_models_have_no_such_limit(model_type: str) -> None:
    assert length_limit(tiny_classifier(model_type, 113)) is None


def test_dynamic_rotary_positions_limit_the_length() -> None:
    model = tiny_classifier("llama", 113)
    model.config.rope_parameters = {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 64}
    limit = length_limit(model)
    assert limit is not None and limit.tokens == 64 and "rotary" in limit.reason
