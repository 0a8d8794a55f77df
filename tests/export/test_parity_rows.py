"""What parity compares: real rows beside random ones, within fixed bounds, with a model as it was loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from onnxpress_export.checkpoint import Checkpoint, load_checkpoint
from onnxpress_export.parity_rows import Case, RowSource, parity_cases, parity_inputs
from onnxpress_export.reference import fresh
from onnxpress_export.settled import length_limit
from onnxpress_export.verify import torch_logits
from tests.conftest import MAX_LENGTH

CLS, SEP, PAD = 2, 3, 0


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> Checkpoint:
    return load_checkpoint(str(checkpoint))


def rows_of(loaded: Checkpoint, case: Case) -> dict[str, np.ndarray]:
    return parity_inputs(RowSource(loaded), case, np.random.default_rng(1))


def test_text_rows_hold_special_tokens_and_pairs(loaded: Checkpoint) -> None:
    inputs = rows_of(loaded, Case(5, 33, False, "text"))
    ids, types = inputs["input_ids"], inputs["token_type_ids"]
    assert ids.shape == (5, 33)
    assert (ids[:, 0] == CLS).all() and (ids[:, -1] == SEP).all()
    assert ((ids == SEP).sum(1) == [1, 2, 1, 2, 1]).all(), "every second row is a pair"
    assert (types.max(1) == [0, 1, 0, 1, 0]).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_are_padded_on_the_tokenizers_side(loaded: Checkpoint, side: str) -> None:
    tokenizer = loaded.tokenizer
    before, tokenizer.padding_side = tokenizer.padding_side, side
    try:
        for kind in ("random", "text"):
            inputs = rows_of(loaded, Case(5, 33, True, kind))  # type: ignore[arg-type]
            mask, ids = inputs["attention_mask"], inputs["input_ids"]
            assert mask[0].all() and not mask[1:].all()
            assert (ids[mask == 0] == PAD).all()
            outer, inner = (mask[:, 0], mask[:, -1]) if side == "left" else (mask[:, -1], mask[:, 0])
            assert inner.all() and not outer[1:].all()
    finally:
        tokenizer.padding_side = before


def test_random_rows_hold_no_special_token(loaded: Checkpoint) -> None:
    ids = rows_of(loaded, Case(5, 130, False, "random"))["input_ids"]
    assert not np.isin(ids, loaded.tokenizer.all_special_ids).any()


def test_rows_too_short_for_a_text_are_as_short_as_one_can_be(loaded: Checkpoint) -> None:
    assert rows_of(loaded, Case(1, 1, True, "text"))["input_ids"].shape == (1, 3)


@pytest.mark.parametrize("heads", [1, 12, 16, 40, 128])
@pytest.mark.parametrize("longest", [2, 140, 512, 2_048, 8_192, 32_768, 131_072])
def test_what_is_compared_stays_within_fixed_bounds(longest: int, heads: int) -> None:
    cases = parity_cases(longest, heads)
    assert max(case.batch * case.sequence for case in cases) <= 2_560
    assert max(case.batch * heads * case.sequence**2 for case in cases) <= 2**26
    assert max(case.sequence for case in cases) == min(longest, 2_048, int((2**26 / heads) ** 0.5))
    assert {case.rows for case in cases} == {"random", "text"} and {case.padded for case in cases} == {True, False}
    assert any(case.batch > 1 for case in cases)


def test_the_cases_of_a_huge_model_are_those_of_a_long_one() -> None:
    assert parity_cases(40_000, 12) == parity_cases(2_048, 12)


class Switches(BertForSequenceClassification):
    """Answers otherwise for good after its first text, and notes it in an attribute, a buffer and its configuration."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.switched = False
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **inputs: object) -> object:
        output = super().forward(input_ids=input_ids, attention_mask=attention_mask)
        output.logits = output.logits + 5.0 * self.switched + self.calls
        self.switched, self.config.layer_norm_eps = True, 0.5
        self.calls += 1
        return output


def test_every_comparison_asks_a_model_as_it_was_loaded(loaded: Checkpoint) -> None:
    model = Switches(loaded.model.config).eval()
    other = replace(loaded, model=model, input_names=("input_ids", "attention_mask"))
    inputs = rows_of(loaded, Case(2, 7, False, "text"))
    first, second = torch_logits(other, inputs), torch_logits(other, inputs)
    np.testing.assert_array_equal(first, second)
    assert not model.switched and float(model.calls) == 0 and model.config.layer_norm_eps != 0.5


def test_a_fresh_copy_shares_weights_and_nothing_else(loaded: Checkpoint) -> None:
    model = loaded.model
    copy = fresh(model)
    assert all(a is b for a, b in zip(model.parameters(), copy.parameters(), strict=True))
    assert all(a is not b for a, b in zip(model.buffers(), copy.buffers(), strict=True))
    assert copy.config is not model.config and copy.config.to_dict() == model.config.to_dict()


def test_an_answer_leaves_the_model_as_it_was(loaded: Checkpoint) -> None:
    state = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    torch_logits(loaded, rows_of(loaded, Case(5, 7, True, "text")))
    assert all(torch.equal(value, loaded.model.state_dict()[name]) for name, value in state.items())
    assert length_limit(loaded.model) is None and loaded.max_length == MAX_LENGTH
